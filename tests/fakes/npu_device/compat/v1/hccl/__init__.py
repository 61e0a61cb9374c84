"""HCCL in graphs."""
