"""Fake of HCCL's Python package, which an adapter of several ranks imports."""
