"""Which trained weights evaluate, predict and export use, and where they write. No TensorFlow.

They never start, resume or move a run.
"""
from __future__ import annotations

import dataclasses
import os
from typing import Any

from common import atomic_files
from common.checkpoints import bundle
from common.cli import shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.devices.selection import device_id
from common.errors import ZooError
from common.run import metrics, run_dir

LEVELS_OF_A_RUN = 3  # of folders between a run directory and a checkpoint in it, at most


@dataclasses.dataclass(frozen=True)
class Trained:
    """Trained weights.

    Attributes:
        prefix: of the checkpoint.
        run_path: the run directory that it lies in, or None.
        folder: where the program writes.
    """

    prefix: str
    run_path: str | None
    folder: str

    def arguments(self) -> dict[str, Any]:
        """The identity part of the run's arguments; empty for a checkpoint that lies in no run."""
        return run_dir.read_arguments(self.run_path)["identity"] if self.run_path else {}

    def write_json(self, name: str, content: Any) -> str:
        """Write a result into the folder; return its path."""
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, name)
        atomic_files.write_json(path, content)
        return path


def define_flags(flags: FlagSet) -> None:
    """The flags that say which weights and where to write."""
    flags.model.string("checkpoint", None, "Checkpoint file (its path without .index) or run directory.",
                       "the best, else the newest checkpoint of the default run directory")
    shared_flags.define_output(flags)
    flags.data.boolean("json", False, "Print the result as one JSON object.")


def find(flags: FlagValues, model_root: str, program: str, environment: dict[str, str]) -> Trained:
    """Find the weights that the flags name.

    Args:
        flags: parsed flags, with those of `define_flags`.
        model_root: folder of the model.
        program: "evaluate", "predict" or "export", the name of the folder to write to.
        environment: os.environ.

    Raises:
        ZooError: no such checkpoint, or a run without one.
    """
    default_run = run_dir.locate(flags.output_path, model_root, device_id(environment))
    path = bundle.prefix_of(flags.checkpoint) if flags.checkpoint else default_run
    if os.path.isdir(path):
        if not run_dir.is_run(path):
            raise ZooError(f"{path}: is no run directory (it has no {run_dir.ARGUMENTS}); train first, or give "
                           "--checkpoint=FILE or RUN_DIR")
        return Trained(_best_or_newest(path), path, os.path.join(path, program))
    if not os.path.isfile(path + ".index"):
        what = f"--checkpoint={flags.checkpoint}" if flags.checkpoint else "the default run directory"
        raise ZooError(f"{what}: neither {path}.index nor a run directory {path} is there; train first, or give "
                       "--checkpoint=FILE or RUN_DIR")
    run_path = path
    for _ in range(LEVELS_OF_A_RUN):
        run_path = os.path.dirname(run_path)
        if run_dir.is_run(run_path):
            return Trained(path, run_path, os.path.join(run_path, program))
    parent = os.path.expanduser(flags.output_path) if flags.output_path else os.path.dirname(default_run)
    return Trained(path, None, os.path.join(os.path.abspath(parent), program))


def _best_or_newest(run_path: str) -> str:
    folder = os.path.join(run_path, "ckpt")
    steps = bundle.steps_in(folder)
    if not steps:
        raise ZooError(f"{run_path}: has no checkpoint yet")
    best = [row["step"] for row in metrics.read_rows(run_path, "eval") if row.get("best") and row["step"] in steps]
    return os.path.join(folder, f"{bundle.PREFIX}-{best[-1] if best else steps[-1]}")
