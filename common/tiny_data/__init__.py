"""Tiny synthetic data sets in the real formats, for smoke runs and tests: python3 -m common.tiny_data FORMAT FOLDER."""
