"""The checkpoint that evaluate, predict and export use. These programs never start, resume or move a run."""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import os
import pathlib
from typing import Any, Iterable, Iterator, Mapping

from common.checkpoints import bundle
from common.cli import inference, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.data import checksums
from common.devices.selection import device_id
from common.errors import ZooError
from common.run import metrics, run_dir

PRETRAINED = "pretrained"  # value of --checkpoint, and folder of a model that comes with weights
LEVELS_OF_A_RUN = 3  # a checkpoint is at most so many folders below its run directory


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, and where results about it are written."""

    prefix: str  # its path without .index
    run_path: str | None  # the run directory that it is in
    output_folder: str  # where the program writes
    names: list[str] = dataclasses.field(default_factory=list, compare=False)  # of the files that `file` has named

    def run_identity(self) -> dict[str, Any]:
        """What the run's arguments.json says about recipe, model and data; empty outside of a run."""
        return run_dir.read_arguments(self.run_path)["identity"] if self.run_path else {}

    def title(self, result: str) -> str:
        """The title of a figure: model, recipe and step as far as they are known, and a result."""
        identity, step = self.run_identity(), self.prefix.rpartition("-")[2]
        about = [identity.get("model"), identity.get("recipe"), f"step {step}" if step.isdigit() else None]
        return f"{', '.join(filter(None, about)) or os.path.basename(self.prefix)}: {result}"

    def file(self, name: str) -> str:
        """Path of a file in the output folder, which is made."""
        os.makedirs(self.output_folder, exist_ok=True)
        self.names.append(name)
        return os.path.join(self.output_folder, name)

    @contextlib.contextmanager
    def numbered(self, name: str) -> Iterator[Checkpoint]:
        """Yield the checkpoint with an output folder that holds no file of a name: its own, else 2, 3, ... in it.

        Another process that asks for one waits until this one has written.
        """
        os.makedirs(self.output_folder, exist_ok=True)
        lock = os.open(self.output_folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            folders = itertools.chain([self.output_folder], (os.path.join(self.output_folder, str(number))
                                                             for number in itertools.count(2)))
            free = next(folder for folder in folders if not os.path.exists(os.path.join(folder, name)))
            yield dataclasses.replace(self, output_folder=free, names=[])
        finally:
            os.close(lock)

    def report(self, name: str, result: Mapping[str, Any], lines: Iterable[str], as_json: bool) -> None:
        """Write a result into the output folder and print it, after the checkpoint, with the names of all files."""
        beside = [other for other in self.names if os.path.exists(os.path.join(self.output_folder, other))]
        inference.report(self.file(name), result, [f"Checkpoint: {self.prefix}", *lines], as_json, beside)


def define_flags(flags: FlagSet, with_device: bool = True) -> None:
    """Define the flags that choose a checkpoint and say where and how to report."""
    flags.model.string("checkpoint", None, "Checkpoint file (its path without .index), run directory, folder of "
                       "published weights, or `pretrained`: those in the model's folder.",
                       "the best, else the newest checkpoint of the default run directory")
    shared_flags.define_output(flags)
    flags.data.boolean("json", False, "Print the result as one JSON object.")
    if with_device:
        shared_flags.define_device(flags)


def choose(flags: FlagValues, model_root: str, program: str) -> Checkpoint:
    """Choose the checkpoint that the flags name; `program` names its output folder: "evaluate", "predict" or "export".

    Raises ZooError for no such checkpoint, a run without one or of another model, or published weights that differ from
    their checksums.
    """
    default_run = run_dir.locate(flags.output_path, model_root, device_id(dict(os.environ)))
    path = flags.checkpoint or default_run
    pretrained = os.path.join(model_root, PRETRAINED)
    if not flags.checkpoint and not os.path.exists(default_run):
        or_pretrained = f", or --checkpoint={PRETRAINED}" if checksums.has_sums(pretrained) else ""
        raise ZooError(f"{default_run}: no run found; train first, or give --checkpoint=FILE or RUN_DIR"
                       f"{or_pretrained}")
    if flags.checkpoint == PRETRAINED:
        path = pretrained
        if not checksums.has_sums(path):
            raise ZooError(f"--checkpoint={flags.checkpoint}: {os.path.basename(model_root)} comes without weights; "
                           "train first, or give --checkpoint=FILE or RUN_DIR")
    prefix = find(path)
    around = list(map(str, pathlib.Path(prefix).parents))[:LEVELS_OF_A_RUN]
    run_path = next(filter(run_dir.is_run, around), None)
    results_path = flags.output_path or os.path.dirname(default_run)
    if run_path and checksums.has_sums(run_path):  # of published weights, beside which nothing is written
        checksums.verify_folder(run_path)
    else:
        results_path = run_path or results_path
    output_folder = os.path.join(os.path.abspath(os.path.expanduser(results_path)), program)
    checkpoint = Checkpoint(prefix, run_path, output_folder)
    model = checkpoint.run_identity().get("model", os.path.basename(model_root))
    if model != os.path.basename(model_root):
        raise ZooError(f"{run_path}: is a run of {model}, expected one of {os.path.basename(model_root)}")
    return checkpoint


def find(path: str) -> str:
    """Return the prefix of a checkpoint, in a run directory of the best, else the newest one; ZooError without any."""
    path = os.path.abspath(os.path.expanduser(path))
    if run_dir.is_run(path):
        folder = os.path.join(path, "ckpt")
        steps = bundle.steps_in(folder)
        if not steps:
            raise ZooError(f"{path}: has no checkpoint yet; train longer, or give another --checkpoint")
        best = [row["step"] for row in metrics.read_rows(path, "eval") if row.get("best") and row["step"] in steps]
        return os.path.join(folder, f"{bundle.PREFIX}-{best[-1] if best else steps[-1]}")
    path = bundle.prefix_of(path)
    if os.path.isdir(path):
        raise ZooError(f"{path}: is not a run directory (it has no {run_dir.ARGUMENTS}) and holds no checkpoint; train "
                       "first, or give --checkpoint=FILE or RUN_DIR")
    if path.endswith(".h5"):
        raise ZooError(f"{path}: is a weights file of Keras, expected a run directory or a checkpoint of TensorFlow; "
                       "for a run of this model, give --checkpoint=RUN_DIR")
    if not os.path.isfile(path + ".index"):
        raise ZooError(f"{path}: not found (no {path}.index, no run directory); train first, or give "
                       "--checkpoint=FILE or RUN_DIR")
    checksums.verify(path)
    return path
