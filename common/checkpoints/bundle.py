"""Checkpoints: TensorFlow bundles `model.ckpt-<step>` in a folder, an .index file and .data files of named variables.

A bundle is written to a temporary folder, synced and renamed, the index last: a step counts as saved once its index
exists. The two newest steps are kept, and those that the caller names. The caller also decides what a bundle contains
and how it is written and read.
"""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import zlib
from typing import Any, Callable, Collection, Iterator, Mapping

from common import atomic_files
from common.cli.parser import FlagValues
from common.data import checksums
from common.errors import ZooError, reason_of

PREFIX = "model.ckpt"
NUM_NEWEST_KEPT = 2
_FILE = re.compile(r"model\.ckpt-(\d+)\.(index|data-\d{5}-of-\d{5})")
_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_TEMPORARY = ".saving-"
_STATE = re.compile(r'^model_checkpoint_path: "([^"]*)"', re.MULTILINE)
_PATTERN = re.compile(r"[][*?\\]")


class DamagedBundle(Exception):
    """A bundle cannot be read; the message says why."""


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: str, write: Callable[[str], None], read: Callable[[str], int]):
        """Create the folder if it is missing, and remove the temporary files of a killed process.

        `write` writes a bundle to a prefix, or raises ZooError; `read` restores one and returns its step, or raises
        DamagedBundle.
        """
        self.folder = folder
        self._write, self._read = write, read
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            if name.startswith(_TEMPORARY):
                shutil.rmtree(os.path.join(folder, name))

    def save(self, step: int, keep: Collection[int] = ()) -> str:
        """Save `model.ckpt-<step>`, prune, and return the prefix; `keep` as in `prune`."""
        prefix = write_atomically(self.folder, f"{PREFIX}-{step}", self._write)
        atomic_files.write_text(os.path.join(self.folder, "checkpoint"), f'model_checkpoint_path: "{PREFIX}-{step}"\n')
        self.prune({step, *keep})
        return prefix

    def prune(self, keep: Collection[int]) -> None:
        """Remove all steps except the two newest and those in `keep`, such as the best one."""
        kept = {*steps_in(self.folder)[-NUM_NEWEST_KEPT:], *keep}
        for name, step in self._files():
            if step not in kept:
                os.remove(os.path.join(self.folder, name))

    def wait(self) -> None:
        """Return once everything is on the disk, where `save` has put it here."""

    def restore_newest(self) -> tuple[int | None, list[str]]:
        """Restore the newest intact checkpoint; damaged ones are renamed, so that they no longer count.

        Return its step (None if there is no checkpoint at all), and a notice for each damaged one; raise ZooError if
        all are damaged.
        """
        reasons: dict[int, str] = {}
        for step in reversed(steps_in(self.folder)):
            try:
                step_read = self._read(os.path.join(self.folder, f"{PREFIX}-{step}"))
                if step_read == step:
                    return step, self._rename_damaged(reasons)
                reasons[step] = f"it contains step {step_read}"
            except DamagedBundle as error:
                reasons[step] = str(error)
        if reasons:
            newest = max(reasons)
            raise ZooError(f"{self.folder}: every checkpoint is damaged ({PREFIX}-{newest}: {reasons[newest]}); "
                           "restore one from a backup, or start a new run with --resume=never")
        return None, []

    def _rename_damaged(self, reasons: Mapping[int, str]) -> list[str]:
        for name, step in self._files():
            if step in reasons:
                os.replace(os.path.join(self.folder, name), os.path.join(self.folder, f"damaged.{name}"))
        return [f"Warning: {os.path.join(self.folder, PREFIX)}-{step} is damaged ({reason}); it was renamed to "
                f"damaged.{PREFIX}-{step}, and the previous checkpoint is used." for step, reason in reasons.items()]

    def _files(self) -> list[tuple[str, int]]:
        """Return the names of all bundle files, with their steps."""
        matches = map(_FILE.fullmatch, os.listdir(self.folder))
        return [(match.group(), int(match.group(1))) for match in matches if match]


def write_atomically(folder: str, name: str, write: Callable[[str], None]) -> str:
    """Write a bundle to a temporary folder, sync its files and rename them; return the prefix."""
    temporary = os.path.join(folder, f"{_TEMPORARY}{name}")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
    os.makedirs(temporary)
    write(os.path.join(temporary, name))
    written = sorted(os.listdir(temporary), key=lambda file: file.endswith(".index"))
    for file in written:
        with open(os.path.join(temporary, file), "rb") as opened:
            os.fsync(opened.fileno())
    for file in written:
        os.replace(os.path.join(temporary, file), os.path.join(folder, file))
    os.rmdir(temporary)
    atomic_files.sync_folder(folder)
    return os.path.join(folder, name)


def steps_in(folder: str) -> list[int]:
    """Return the steps of the checkpoints in a folder, in ascending order."""
    matches = map(_FILE.fullmatch, os.listdir(folder) if os.path.isdir(folder) else [])
    return sorted(int(match.group(1)) for match in matches if match and match.group(2) == "index")


@contextlib.contextmanager
def literal(path: str) -> Iterator[str]:
    """Yield a path from which TensorFlow can read a checkpoint or SavedModel.

    TensorFlow takes paths for patterns when it reads, so it does not find files in `run[1]/`. They are read through
    links.
    """
    if not _PATTERN.search(path):
        yield path
        return
    folder, name = os.path.split(os.path.abspath(path))
    with tempfile.TemporaryDirectory() as temporary:
        for file in os.listdir(folder):
            if file == name or file.startswith(f"{name}."):
                os.symlink(os.path.join(folder, file), os.path.join(temporary, f"link{file[len(name):]}"))
        yield os.path.join(temporary, "link")


def prefix_of(path: str) -> str:
    """Return the absolute prefix of a checkpoint.

    A path may be the prefix; a file of the checkpoint; TensorFlow's `checkpoint` file; or a folder that contains such a
    file or a single checkpoint, directly or in ckpt/, ZooError if several. Any other path is only made absolute.
    """
    path = _SUFFIX.sub("", os.path.abspath(os.path.expanduser(path)))
    if os.path.basename(path) == "checkpoint" and os.path.isfile(path):
        return _from_state_file(path) or path
    for folder in (path, os.path.join(path, "ckpt")):
        prefix = _from_folder(folder)
        if prefix:
            return prefix
    return path


def _from_folder(folder: str) -> str | None:
    prefix = _from_state_file(os.path.join(folder, "checkpoint"))
    if prefix or not os.path.isdir(folder):
        return prefix
    names = [name[:-len(".index")] for name in sorted(os.listdir(folder))
             if name.endswith(".index") and not name.startswith(".")]
    if len(names) > 1:
        raise ZooError(f"{folder}: has {len(names)} checkpoints, {', '.join(names[:3])}{' ...' * (len(names) > 3)}; "
                       "choose one of them")
    return os.path.join(folder, names[0]) if names else None


def _from_state_file(path: str) -> str | None:
    """Return the checkpoint that a `checkpoint` file of TensorFlow names, if both exist."""
    try:
        with open(path, encoding="utf-8") as file:
            match = _STATE.search(file.read(1 << 16))
    except (OSError, UnicodeDecodeError):
        return None
    if not match:
        return None
    folder, named = os.path.dirname(path), match.group(1)
    candidates = (os.path.join(folder, named), os.path.join(folder, os.path.basename(named)))  # if the folder was moved
    return next((prefix for prefix in candidates if os.path.isfile(f"{prefix}.index")), None)


def init_prefix(flags: FlagValues) -> str | None:
    """Return the prefix of the checkpoint that --init_checkpoint names, None if the flag is unset."""
    return prefix_of(flags.init_checkpoint) if flags.init_checkpoint else None


def require(prefix: str) -> None:
    """Raise ZooError if a checkpoint does not exist, or differs from checksums beside it."""
    if not os.path.isfile(prefix + ".index"):
        raise ZooError(f"{prefix}: no such checkpoint ({prefix}.index is missing); give its path without .index or "
                       ".data")
    checksums.verify(prefix)


def fingerprint(prefix: str | None) -> list[Any] | None:
    """Return the name of a checkpoint and a checksum of its index, which holds all others; None for None."""
    if not prefix:
        return None
    require(prefix)
    with open(prefix + ".index", "rb") as file:
        return [os.path.basename(prefix), zlib.crc32(file.read())]


@contextlib.contextmanager
def reading(prefix: str, errors: Any) -> Iterator[str]:
    """Yield a path as `literal` does; raise ZooError if the bundle is damaged. `errors` is `tf.errors`."""
    try:
        with literal(prefix) as path:
            yield path
    except (errors.OpError, ValueError) as error:
        raise ZooError(f"{prefix}: is damaged ({reason_of(error)})") from None


@contextlib.contextmanager
def writing(prefix: str, errors: Any) -> Iterator[None]:
    """Raise ZooError if a bundle cannot be written in the block. `errors` is `tf.errors`."""
    try:
        yield
    except (errors.OpError, ValueError) as error:  # tf.train.Saver turns some disk errors into ValueError
        raise ZooError(f"{prefix}: cannot write the checkpoint ({reason_of(error)}); earlier ones are intact, free "
                       "disk space and start the run again") from None


def shapes_in(prefix: str, tf: Any) -> dict[str, list[int]]:
    """Return the shapes of the variables in a bundle, by name; ZooError if it does not exist or is damaged.

    `tf` is TensorFlow, here and below.
    """
    require(prefix)
    with reading(prefix, tf.errors) as path:
        return dict(tf.train.load_checkpoint(path).get_variable_to_shape_map())


def require_shapes(prefix: str, variables: Mapping[str, Any], tf: Any) -> None:
    """Raise ZooError unless a bundle has all variables of a trained model, by name, in their shapes."""
    shapes = shapes_in(prefix, tf)
    for name, expected in _shapes_of(variables).items():
        if shapes.get(name) != expected:
            problem = f"has shape {shapes[name]}" if name in shapes else "is missing"
            raise ZooError(f"{prefix}: {name} {problem}, expected shape {expected}; is it a checkpoint of this model?")


def loadable(prefix: str, variables: Mapping[str, Any], tf: Any) -> tuple[list[str], list[str]]:
    """Return the names of the variables that can be loaded, and why not for each other one; ZooError without any."""
    shapes, expected = shapes_in(prefix, tf), _shapes_of(variables)
    names = [name for name, shape in expected.items() if shapes.get(name) == shape]
    if not names:
        raise ZooError(f"--init_checkpoint={prefix}: holds no variable of this model")
    return names, [f"Not loaded from {prefix}: {name} ("
                   + (f"shape {shapes[name]}, expected {shape}" if name in shapes else "not in the checkpoint") + ")"
                   for name, shape in expected.items() if name not in names]


def _shapes_of(variables: Mapping[str, Any]) -> dict[str, list[int]]:
    return {name: [int(side) for side in variable.shape] for name, variable in variables.items()}
