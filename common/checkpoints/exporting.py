"""What all export programs share: the program itself, the folder of a SavedModel, the ONNX model, and the check of what
was written.
"""
from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from typing import Any, Callable, Mapping

import numpy as np

from common import atomic_files, console
from common.checkpoints import onnx_model, trained
from common.cli import inference, program
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from common.errors import ZooError

RECORD = "export.json"
ONNX_MAX_DIFFERENCE = 1e-4  # of the largest output: ONNX Runtime sums in another order
_SAVED_MODEL_FILES = {"saved_model.pb", "variables", "assets", "fingerprint.pb"}
Arrays = Mapping[str, np.ndarray]
Export = Callable[[FlagValues, trained.Checkpoint, selection.Device], "dict[str, Any]"]


@dataclasses.dataclass(frozen=True)
class Target:
    """Where an export is written, and in which formats; an earlier one there is replaced."""

    folder: str  # absolute path
    name: str  # of the files
    onnx: bool = False  # whether to write an ONNX model too
    # differences allowed in the outputs of the ONNX model, by name, else `ONNX_MAX_DIFFERENCE` of the largest value
    onnx_tolerances: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def file(self, suffix: str) -> str:
        """Path of a file of the export."""
        return os.path.join(self.folder, self.name + suffix)


def define_formats(flags: FlagSet) -> None:
    """Define the flag that chooses the formats of an export."""
    flags.data.boolean("onnx", False, "Write an ONNX model too, checked in ONNX Runtime.")


def entry(model_root: str, define_flags: Callable[[], FlagSet]) -> Callable[[Export], Callable[..., int]]:
    """Decorator: turn `main(flags, checkpoint, device)` into `main(argv=None)` of an export program.

    The decorated function gets the CPU: exported models contain neither a device nor an adapter. It returns the result
    of one export, or of several by name, which is printed.
    """

    def decorate(export: Export) -> Callable[..., int]:
        @program.entry
        @functools.wraps(export)
        def main(arguments: list[str], stop: program.StopRequest) -> int:
            flags = define_flags().parse(arguments)
            if flags.onnx:
                onnx_model.require_packages()
            checkpoint = trained.choose(flags, model_root, "export")
            result = dict(export(flags, checkpoint, selection.choose("cpu", os.environ)), checkpoint=checkpoint.prefix)
            inference.show(result, [f"Checkpoint: {checkpoint.prefix}", *_lines(result)], flags.json)
            return 0

        return main

    return decorate


def _lines(result: dict[str, Any]) -> list[str]:
    if "max_difference" not in result:
        return [line for part in result.values() if isinstance(part, dict) for line in _lines(part)]
    difference = f"{result['max_difference']:.1e}" + (" of the largest output" if "tflite" in result else "")
    lines = [f"Written and checked against the live network (largest difference {difference}):",
             *(f"  {result[name]}" for name in ("frozen_graph", "saved_model", "tflite") if name in result)]
    if "onnx" in result:
        lines += [f"Written and checked in ONNX Runtime (largest difference {result['onnx_max_difference']:.1e} of the "
                  "largest output):", f"  {result['onnx']}"]
    return lines


def saved_model_path(folder: str) -> str:
    """Create a folder if it is missing and return the path for its SavedModel; an earlier export there is removed.

    Raises ZooError if the path exists, but was not exported by us.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "saved_model")
    if os.path.lexists(path):
        names = set(os.listdir(path)) if os.path.isdir(path) else {"a file"}
        if not os.path.isfile(os.path.join(folder, RECORD)) or names - _SAVED_MODEL_FILES:
            raise ZooError(f"{path}: not an export of this program, so it is left alone; move it away or choose "
                           "another --output_path")
        shutil.rmtree(path)
    return path


def largest_difference(path: str, outputs: Arrays, expected: Arrays, tolerance: float, is_relative: bool) -> float:
    """Return the largest difference between the outputs of an exported model and the live network's, by name.

    Difference and tolerance are in units of the largest expected value; without `is_relative`, the tolerance is in
    units of 1 at least, and the difference is absolute. Raises ZooError if one is larger.
    """
    difference = 0.0
    for name, values in expected.items():
        error, scale = float(np.abs(outputs[name] - values).max()), float(np.abs(values).max())
        if not error <= tolerance * (scale if is_relative else max(1.0, scale)):
            raise ZooError(f"{path}: {name} differs from the live network by {error}, its largest value is {scale}")
        difference = max(difference, error / (scale or 1.0) if is_relative else error)
    return difference


class Stages(console.Progress):
    """The progress of an export: two formats, their check, and the ONNX model."""

    def __init__(self, target: Target):
        super().__init__(f"exporting {target.name}", 3 + target.onnx, "step")
        self._begun = 0

    def begin(self, name: str) -> None:
        """Say that a stage begins; those begun before are done."""
        self.update(self._begun, name)
        self._begun += 1
        if self._bar is not None:
            self._bar.refresh()


def finish(target: Target, result: Mapping[str, Any], inputs: Arrays, expected: Arrays, shown: Stages
           ) -> dict[str, Any]:
    """Write export.json, which also marks the folder as an export of ours, and the ONNX model if it is asked for.

    Takes the result so far, inputs and the live network's outputs for them, by name. Returns the result, with the path
    of the ONNX model and its largest difference in ONNX Runtime. Raises ZooError if the conversion fails or the outputs
    differ; no ONNX model is left then.
    """
    path, record = target.file(".onnx"), os.path.join(target.folder, RECORD)
    atomic_files.write_json(record, result)
    if os.path.exists(path):
        os.remove(path)  # of an earlier export
    if not target.onnx:
        return dict(result)
    shown.begin("ONNX model")
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        onnx_model.convert(result["saved_model"], temporary)
        outputs = onnx_model.run(temporary, inputs)
        difference = max(
            largest_difference(path, outputs, {name: values}, target.onnx_tolerances.get(name, ONNX_MAX_DIFFERENCE),
                               is_relative=True) for name, values in expected.items())
        atomic_files.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    complete = dict(result, onnx=path, onnx_max_difference=difference)
    atomic_files.write_json(record, complete)
    return complete
