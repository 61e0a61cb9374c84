"""Checkpoints: TensorFlow bundles `model.ckpt-<step>` that are whole or not there, and the way back from them.

A bundle is two files. They are written to a temporary folder, synced and renamed, the index last: a step counts as
saved when its index stands. The two newest are kept, and the steps the caller names.
"""
from __future__ import annotations

import os
import re
import shutil
from typing import Any, Collection

from common import files
from common.program import ZooError
from common.tf1 import tf

PREFIX = "model.ckpt"
NUM_NEWEST_KEPT = 2
_BUNDLE_FILE = re.compile(r"model\.ckpt-(\d+)\.(index|data-\d{5}-of-\d{5})")
_TEMPORARY = ".saving-"


class Checkpoints:
    """The checkpoints of one run, of all global variables of the current graph."""

    def __init__(self, folder: str):
        self.folder = folder
        self._saver = tf.train.Saver(tf.global_variables(), max_to_keep=None)
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            if name.startswith(_TEMPORARY):  # ours, left by a kill
                shutil.rmtree(os.path.join(folder, name))

    def save(self, session: tf.Session, step: int, keep: Collection[int] = ()) -> str:
        """Save the session's variables as `model.ckpt-<step>` and drop what is no longer kept.

        Args:
            session: the session.
            step: number of updates made.
            keep: steps to keep besides the two newest, such as the best one.

        Returns:
            The bundle's prefix.
        """
        prefix = self._write(session, self.folder, f"{PREFIX}-{step}", with_graph=False)
        files.write_text(os.path.join(self.folder, "checkpoint"), f'model_checkpoint_path: "{PREFIX}-{step}"\n')
        kept = set(steps_in(self.folder)[-NUM_NEWEST_KEPT:]) | set(keep) | {step}
        for name in os.listdir(self.folder):
            match = _BUNDLE_FILE.fullmatch(name)
            if match and int(match.group(1)) not in kept:
                os.remove(os.path.join(self.folder, name))
        return prefix

    def save_as(self, session: tf.Session, folder: str, name: str) -> None:
        """Save a bundle under a name of its own, with the graph and TensorFlow's `checkpoint` file beside it."""
        os.makedirs(folder, exist_ok=True)
        self._write(session, folder, name, with_graph=True)
        graph = session.graph.as_graph_def(add_shapes=True)
        files.write_text(os.path.join(folder, "graph.pbtxt"), str(graph))
        files.write_text(os.path.join(folder, "checkpoint"),
                           f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')

    def restore_newest(self, session: tf.Session, global_step: tf.Variable) -> tuple[int | None, list[str]]:
        """Restore the newest checkpoint that is not damaged.

        Returns:
            Its step (None when there is no checkpoint at all), and one notice for each damaged one.

        Raises:
            ZooError: there are checkpoints and all of them are damaged.
        """
        notices = []
        steps = steps_in(self.folder)
        for step in reversed(steps):
            prefix = os.path.join(self.folder, f"{PREFIX}-{step}")
            try:
                self._saver.restore(session, prefix)
                found = int(session.run(global_step))
            except (tf.errors.OpError, ValueError) as error:
                notices.append(f"Warning: {prefix} is damaged ({_first_line(error)}); the one before is tried.")
                continue
            if found == step:
                return step, notices
            notices.append(f"Warning: {prefix} is damaged (it says step {found}); the one before is tried.")
        if steps:
            raise ZooError(f"{self.folder}: every checkpoint is damaged ({notices[0]}); restore one from a copy, or "
                           "begin anew with --resume=never")
        return None, notices

    def _write(self, session: tf.Session, folder: str, name: str, with_graph: bool) -> str:
        temporary = os.path.join(folder, f"{_TEMPORARY}{name}")
        os.makedirs(temporary, exist_ok=True)
        self._saver.save(session, os.path.join(temporary, name), write_meta_graph=with_graph, write_state=False)
        written = sorted(os.listdir(temporary), key=lambda name: name.endswith(".index"))
        for file in written:
            with open(os.path.join(temporary, file), "rb") as opened:
                os.fsync(opened.fileno())
        for file in written:
            os.replace(os.path.join(temporary, file), os.path.join(folder, file))
        os.rmdir(temporary)
        files.sync_folder(folder)
        return os.path.join(folder, name)


def steps_in(folder: str) -> list[int]:
    """Steps of the checkpoints in a folder, rising."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (_BUNDLE_FILE.fullmatch(name) for name in names)
    return sorted(int(match.group(1)) for match in matches if match and match.group(2) == "index")


def restore_all(session: tf.Session, prefix: str, variables: Collection[tf.Variable]) -> None:
    """Restore variables from a bundle, for programs that use a model without training it.

    Raises:
        ZooError: the bundle is damaged or lacks one of the variables.
    """
    shapes = _shapes(prefix)
    for variable in variables:
        found = shapes.get(variable.op.name)
        if found != variable.shape.as_list():
            raise ZooError(f"{prefix}: has {variable.op.name} {found or '(missing)'}, expected "
                           f"{variable.shape.as_list()}; is it a checkpoint of this model?")
    try:
        tf.train.Saver(list(variables)).restore(session, prefix)
    except (tf.errors.OpError, ValueError) as error:
        raise ZooError(f"{prefix}: is damaged ({_first_line(error)})") from None


def initialise_from(session: tf.Session, prefix: str, variables: Collection[tf.Variable]) -> list[str]:
    """Take weights from a bundle, by name and shape, and leave the rest as it is.

    Returns:
        One line for each variable that was not loaded, with the reason.

    Raises:
        ZooError: there is no such checkpoint, or nothing in it fits.
    """
    shapes = _shapes(prefix)
    fitting, left_out = [], []
    for variable in variables:
        name, wanted = variable.op.name, variable.shape.as_list()
        if shapes.get(name) == wanted:
            fitting.append(variable)
        else:
            reason = f"it has {shapes[name]}, wanted {wanted}" if name in shapes else "not in the checkpoint"
            left_out.append(f"Not loaded from {prefix}: {name} ({reason})")
    if not fitting:
        raise ZooError(f"--init_checkpoint={prefix}: no variable of this model is in it")
    restore_all(session, prefix, fitting)
    return left_out


def fingerprint(prefix: str | None) -> list[Any] | None:
    """Return name and size of a checkpoint to take weights from, None for none.

    Raises:
        ZooError: there is no such checkpoint.
    """
    if not prefix:
        return None
    _require(prefix)
    return [os.path.basename(prefix), os.path.getsize(prefix + ".index")]


def _require(prefix: str) -> None:
    if not os.path.isfile(prefix + ".index"):
        raise ZooError(f"{prefix}: no such checkpoint ({prefix}.index is missing); give its path without .index or "
                       ".data")


def _shapes(prefix: str) -> dict[str, list[int]]:
    _require(prefix)
    try:
        return dict(tf.train.load_checkpoint(prefix).get_variable_to_shape_map())
    except (tf.errors.OpError, ValueError) as error:
        raise ZooError(f"{prefix}: is damaged ({_first_line(error)})") from None


def _first_line(error: BaseException) -> str:
    message: Any = getattr(error, "message", None) or str(error)
    return str(message).strip().split("\n")[0][:200]
