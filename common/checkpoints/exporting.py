"""The head of every export program."""
from __future__ import annotations

import os
from typing import Any, Callable

from common.checkpoints import trained
from common.cli import results
from common.cli.parser import FlagValues
from common.devices import selection

Export = Callable[[FlagValues, trained.Checkpoint, selection.Device], "dict[str, Any]"]


def run(flags: FlagValues, model_root: str, export: Export) -> int:
    """Export a checkpoint and print what was written; return the exit status.

    Args:
        flags: parsed flags.
        model_root: folder of the model.
        export: takes flags, checkpoint and device; returns the result of one export, or of several by name.
    """
    checkpoint = trained.choose(flags, model_root, "export")
    device = selection.choose("cpu", os.environ)  # what is exported holds no device and no adapter
    result = dict(export(flags, checkpoint, device), checkpoint=checkpoint.prefix)
    exports = [part for part in (result, *result.values()) if isinstance(part, dict) and "max_difference" in part]
    lines = [line for part in exports for line in _lines(part)]
    results.show(result, [f"Checkpoint: {checkpoint.prefix}", *lines], flags.json)
    return 0


def _lines(part: dict[str, Any]) -> list[str]:
    written = [part[name] for name in ("frozen_graph", "saved_model", "tflite") if name in part]
    difference = f"{part['max_difference']:.1e}" + (" of the largest output" if "tflite" in part else "")
    return [f"Written and checked against the live network (largest difference {difference}):",
            *(f"  {path}" for path in written)]
