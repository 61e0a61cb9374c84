"""Checkpoints: TensorFlow bundles `model.ckpt-<step>` that are whole or not there, and the way back from them.

A bundle is two files. They are written to a temporary folder, synced and renamed, the index last: a step counts as
saved when its index stands. The two newest are kept, and the steps the caller names.
"""
from __future__ import annotations

import os
import shutil
import zlib
from typing import Any, Collection, Mapping

from common import files
from common.bundles import BUNDLE_FILE, PREFIX, steps_in
from common.program import ZooError
from common.tf1 import tf

NUM_NEWEST_KEPT = 2
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
            match = BUNDLE_FILE.fullmatch(name)
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
        """Restore the newest checkpoint that is not damaged; rename damaged ones, so that they count no more.

        Returns:
            Its step (None when there is no checkpoint at all), and one notice for each damaged one.

        Raises:
            ZooError: there are checkpoints and all of them are damaged.
        """
        reasons: dict[int, str] = {}
        for step in reversed(steps_in(self.folder)):
            try:
                self._saver.restore(session, os.path.join(self.folder, f"{PREFIX}-{step}"))
                found = int(session.run(global_step))
                if found == step:
                    return step, self._put_damaged_aside(reasons)
                reasons[step] = f"it says step {found}"
            except (tf.errors.OpError, ValueError) as error:
                reasons[step] = _reason(error)
        if reasons:
            newest = max(reasons)
            raise ZooError(f"{self.folder}: every checkpoint is damaged ({PREFIX}-{newest}: {reasons[newest]}); "
                           "restore one from a copy, or begin anew with --resume=never")
        return None, []

    def _put_damaged_aside(self, reasons: Mapping[int, str]) -> list[str]:
        for name in os.listdir(self.folder):
            match = BUNDLE_FILE.fullmatch(name)
            if match and int(match.group(1)) in reasons:
                os.replace(os.path.join(self.folder, name), os.path.join(self.folder, f"damaged.{name}"))
        return [f"Warning: {os.path.join(self.folder, PREFIX)}-{step} is damaged ({reason}); it is kept as "
                f"damaged.{PREFIX}-{step} and the one before is used." for step, reason in reasons.items()]

    def _write(self, session: tf.Session, folder: str, name: str, with_graph: bool) -> str:
        temporary = os.path.join(folder, f"{_TEMPORARY}{name}")
        shutil.rmtree(temporary, ignore_errors=True)  # of a kill
        os.makedirs(temporary)
        try:
            self._saver.save(session, os.path.join(temporary, name), write_meta_graph=with_graph, write_state=False)
        except (tf.errors.OpError, ValueError) as error:  # the saver turns some errors of the disk into ValueError
            raise ZooError(f"{folder}: no checkpoint can be written ({_reason(error)}); the ones before it stand, make "
                           "space and start the run again") from None
        written = sorted(os.listdir(temporary), key=lambda name: name.endswith(".index"))
        for file in written:
            with open(os.path.join(temporary, file), "rb") as opened:
                os.fsync(opened.fileno())
        for file in written:
            os.replace(os.path.join(temporary, file), os.path.join(folder, file))
        os.rmdir(temporary)
        files.sync_folder(folder)
        return os.path.join(folder, name)


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
        raise ZooError(f"{prefix}: is damaged ({_reason(error)})") from None


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
    """Return name and content of a checkpoint to take weights from, None for none; its index holds checksums.

    Raises:
        ZooError: there is no such checkpoint.
    """
    if not prefix:
        return None
    _require(prefix)
    with open(prefix + ".index", "rb") as file:
        return [os.path.basename(prefix), zlib.crc32(file.read())]


def _require(prefix: str) -> None:
    if not os.path.isfile(prefix + ".index"):
        raise ZooError(f"{prefix}: no such checkpoint ({prefix}.index is missing); give its path without .index or "
                       ".data")


def _shapes(prefix: str) -> dict[str, list[int]]:
    _require(prefix)
    try:
        return dict(tf.train.load_checkpoint(prefix).get_variable_to_shape_map())
    except (tf.errors.OpError, ValueError) as error:
        raise ZooError(f"{prefix}: is damaged ({_reason(error)})") from None


def _reason(error: BaseException) -> str:
    """Say in a line what TensorFlow found: the error's kind, and its first line that is not a mere heading."""
    message = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in str(message).splitlines()]
    telling = [line for line in lines if line and not line.endswith(":") and not line.startswith("Detected at node")]
    return f"{type(error).__name__}: {telling[0][:200] if telling else lines[0]}"
