"""Fixtures with other numbers, and what a comparison says of them."""
from __future__ import annotations

import os
from typing import Any

import numpy as np

from tests.parity.comparison import Comparison, load


def changed(path: str, folder: Any, **changes: Any) -> str:
    """Write a fixture with some changes into a folder; return its path.

    Args:
        path: of the fixture.
        folder: to write to.
        changes: by key, in which `/` is written `__`: a new value, a function of the old one, or None to leave it out.
    """
    values = load(path)
    for name, change in changes.items():
        key = name.replace("__", "/")
        if change is None:
            del values[key]
        else:
            values[key] = change(values[key]) if callable(change) else change
    target = os.path.join(str(folder), "changed.npz")
    np.savez(target, **values)
    return target


def beyond_tolerance(comparison: Comparison) -> list[str]:
    """Return the groups in which an error is larger than the tolerance."""
    groups = comparison.summary("model", "fixture")["groups"]
    return sorted(name for name, entry in groups.items() if entry["error"] > entry["tolerance"])
