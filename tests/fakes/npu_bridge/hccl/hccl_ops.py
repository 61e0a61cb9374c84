"""Collectives in the graphs of sessions, for TensorFlow 1.15."""
from adapter_hccl import allreduce  # noqa: F401
