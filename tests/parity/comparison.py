"""Groups of compared numbers, each with its tolerance; fixtures and the rules that made their inputs."""
from __future__ import annotations

import importlib.util
import os
import zipfile
from typing import Any

import numpy as np

from tests import GOLDEN


class FixtureError(Exception):
    """The file is no fixture of the model."""


class Comparison:
    """Collects errors by group and knows whether all are within tolerance."""

    def __init__(self) -> None:
        self._errors: dict[str, float] = {}
        self._worst: dict[str, str] = {}
        self._tolerances: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self.not_compared: list[str] = []

    def add(self, group: str, key: str, error: float, tolerance: float) -> None:
        """Record an error; NaN counts as beyond every tolerance."""
        error = float("inf") if np.isnan(error) else float(error)
        self._counts[group] = self._counts.get(group, 0) + 1
        if error >= self._errors.get(group, -1.0):
            self._errors[group], self._worst[group] = error, key
        assert self._tolerances.setdefault(group, tolerance) == tolerance

    def absolute(self, group: str, key: str, found: Any, wanted: Any, tolerance: float) -> None:
        """Record max |found - wanted| over max(1, max |wanted|)."""
        wanted = np.asarray(wanted, np.float64)
        scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
        self.add(group, key, _difference(key, found, wanted) / scale, tolerance)

    def relative(self, group: str, key: str, found: Any, wanted: Any, tolerance: float, floor: float = 1e-6) -> None:
        """Record max |found - wanted| over max |wanted|."""
        wanted = np.asarray(wanted, np.float64)
        scale = max(floor, float(np.abs(wanted).max(initial=0.0)))
        self.add(group, key, _difference(key, found, wanted) / scale, tolerance)

    @property
    def holds(self) -> bool:
        """Whether something was compared and every error is within its tolerance."""
        return bool(self._errors) and all(error <= self._tolerances[group] for group, error in self._errors.items())

    def summary(self, model: str, path: str) -> dict[str, Any]:
        """What the command prints."""
        groups = {group: {"error": error, "tolerance": self._tolerances[group], "worst": self._worst[group],
                          "compared": self._counts[group]} for group, error in sorted(self._errors.items())}
        return {"model": model, "fixture": os.path.basename(path), "holds": self.holds, "groups": groups,
                "not_compared": self.not_compared}


def _difference(key: str, found: Any, wanted: np.ndarray) -> float:
    found = np.asarray(found, np.float64)
    if found.shape != wanted.shape:
        raise FixtureError(f"{key}: shape {wanted.shape}, the model gives {found.shape}")
    return float(np.abs(found - wanted).max(initial=0.0))


def load(path: str) -> dict[str, np.ndarray]:
    """Load a fixture without executing pickles.

    Raises:
        OSError: there is no such file.
        FixtureError: it is no .npz file.
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):  # numpy's own reader prints a traceback besides
            raise FixtureError("is no .npz file, or one that was cut off")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def load_rule(name: str) -> Any:
    """Return the module by which the inputs of a model's fixtures were made: tests/golden/<name>/rule.py."""
    spec = importlib.util.spec_from_file_location(f"{name}_rule", os.path.join(GOLDEN, name, "rule.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Taker:
    """Hands out a fixture's values and remembers which were asked for."""

    def __init__(self, values: dict[str, np.ndarray]):
        self._values = values
        self._left = set(values)

    def __call__(self, key: str) -> np.ndarray:
        """Return a value that the fixture must have."""
        if key not in self._values:
            raise FixtureError(f"lacks the key {key}")
        self._left.discard(key)
        return self._values[key]

    def below(self, prefix: str) -> dict[str, np.ndarray]:
        """Return all values whose keys begin with a prefix, by the rest of the key."""
        found = {key[len(prefix):]: value for key, value in self._values.items() if key.startswith(prefix)}
        self._left -= {prefix + key for key in found}
        return found

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def ending(self, suffix: str) -> list[str]:
        """Return the keys that end so, in order."""
        return sorted(key for key in self._values if key.endswith(suffix))

    def has(self, prefix: str) -> bool:
        """Whether a key begins so."""
        return any(key.startswith(prefix) for key in self._values)

    def require_empty(self) -> None:
        """Raise FixtureError if a key was not asked for."""
        if self._left:
            raise FixtureError(f"unknown key {sorted(self._left)[0]} ({len(self._left)} in all)")
