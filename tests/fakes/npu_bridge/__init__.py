"""Fake of the adapter for TensorFlow 1.15."""
