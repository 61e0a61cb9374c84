"""Collectives in the graphs of sessions, for TensorFlow 2."""
from adapter_hccl import allreduce  # noqa: F401
