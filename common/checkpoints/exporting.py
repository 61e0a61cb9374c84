"""What all export programs share: the program itself, the folder of a SavedModel, and the check of what was written."""
from __future__ import annotations

import functools
import os
import shutil
from typing import Any, Callable, Mapping

import numpy as np

from common import atomic_files
from common.checkpoints import trained
from common.cli import program, results
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from common.errors import ZooError

RECORD = "export.json"
_SAVED_MODEL_FILES = {"saved_model.pb", "variables", "assets", "fingerprint.pb"}
Arrays = Mapping[str, np.ndarray]
Export = Callable[[FlagValues, trained.Checkpoint, selection.Device], "dict[str, Any]"]


def entry(model_root: str, define_flags: Callable[[], FlagSet]) -> Callable[[Export], Callable[..., int]]:
    """Decorator: turn `main(flags, checkpoint, device)` into `main(argv=None)` of an export program.

    The decorated function gets the parsed flags, the checkpoint to export and the CPU: exported models contain neither
    a device nor an adapter. It returns the result of one export, or of several by name, which is printed.

    Args:
        model_root: folder of the model.
        define_flags: returns the flags of the program.
    """

    def decorate(export: Export) -> Callable[..., int]:
        @program.entry
        @functools.wraps(export)
        def main(arguments: list[str], stop: program.StopRequest) -> int:
            flags = define_flags().parse(arguments)
            checkpoint = trained.choose(flags, model_root, "export")
            result = dict(export(flags, checkpoint, selection.choose("cpu", os.environ)), checkpoint=checkpoint.prefix)
            results.show(result, [f"Checkpoint: {checkpoint.prefix}", *_lines(result)], flags.json)
            return 0

        return main

    return decorate


def _lines(result: dict[str, Any]) -> list[str]:
    if "max_difference" not in result:
        return [line for part in result.values() if isinstance(part, dict) for line in _lines(part)]
    difference = f"{result['max_difference']:.1e}" + (" of the largest output" if "tflite" in result else "")
    return [f"Written and checked against the live network (largest difference {difference}):",
            *(f"  {result[name]}" for name in ("frozen_graph", "saved_model", "tflite") if name in result)]


def saved_model_path(folder: str) -> str:
    """Create a folder if it is missing and return the path for its SavedModel; an earlier export there is removed.

    Raises:
        ZooError: the path exists, but was not exported by us.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "saved_model")
    if os.path.lexists(path):
        names = set(os.listdir(path)) if os.path.isdir(path) else {"a file"}
        if not os.path.isfile(os.path.join(folder, RECORD)) or names - _SAVED_MODEL_FILES:
            raise ZooError(f"{path}: not an export of ours, and left alone; move it away or choose another "
                           "--output_path")
        shutil.rmtree(path)
    return path


def largest_difference(path: str, outputs: Arrays, expected: Arrays, tolerance: float, is_relative: bool) -> float:
    """Compare the outputs of an exported model with those of the live network, by name.

    Args:
        path: the exported model.
        outputs: its outputs.
        expected: outputs of the live network.
        tolerance: largest difference allowed, in units of the largest expected value; without `is_relative` in units
            of 1 at least.
        is_relative: whether to return the difference in units of the largest expected value.

    Raises:
        ZooError: the difference is larger.
    """
    difference = 0.0
    for name, values in expected.items():
        error, scale = float(np.abs(outputs[name] - values).max()), float(np.abs(values).max())
        if not error <= tolerance * (scale if is_relative else max(1.0, scale)):
            raise ZooError(f"{path}: {name} differs from the live network by {error}, its largest value is {scale}")
        difference = max(difference, error / (scale or 1.0) if is_relative else error)
    return difference


def record(folder: str, result: Mapping[str, Any]) -> None:
    """Write export.json, which also marks the folder as an export of ours."""
    atomic_files.write_json(os.path.join(folder, RECORD), result)
