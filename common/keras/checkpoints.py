"""Checkpoints of Keras models: bundles of variables by name, as those of graph models.

The names are our own, and the same for every version of Keras. Keras' own formats differ between its versions, and
TensorFlow's object checkpoints depend on the Python structure of a model.
"""
from __future__ import annotations

from typing import Any, Mapping, Sequence

import tensorflow as tf

from common.checkpoints import bundle
from common.checkpoints.background import BackgroundFolder
from common.checkpoints.bundle import CheckpointFolder, DamagedBundle
from common.errors import reason_of

STEP = "global_step"


class KerasCheckpoints(CheckpointFolder):
    """The checkpoints of one run: the given variables and a step counter."""

    def __init__(self, folder: str, variables: Mapping[str, Any], global_step: Any):
        """Open the folder.

        Args:
            folder: path of the folder.
            variables: tf.Variable or Keras variables, by name.
            global_step: integer variable that counts the updates, saved as `global_step`.
        """
        self._variables = dict(variables, **{STEP: global_step})
        self._captured: dict[str, tf.Tensor] = {}
        super().__init__(folder, self._write_bundle, self._read_bundle)

    def in_background(self) -> BackgroundFolder:
        """Return this folder with a thread that writes; for CPUs and GPUs."""
        return BackgroundFolder(self, self._capture)

    def _capture(self) -> None:
        with tf.device("CPU:0"):  # from a GPU a copy; on a CPU the first update of a variable makes one
            self._captured = {name: tf.identity(value) for name, value in self._values().items()}

    def _values(self) -> dict[str, tf.Tensor]:
        return {name: tf.convert_to_tensor(variable) for name, variable in self._variables.items()}

    def _write_bundle(self, prefix: str) -> None:
        values, self._captured = self._captured or self._values(), {}
        names = sorted(values)
        try:
            tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names),
                              tensors=[values[name] for name in names])
        except tf.errors.OpError as error:
            raise bundle.not_written(prefix, error) from None

    def _read_bundle(self, prefix: str) -> int:
        try:
            values = read(prefix, {name: variable.dtype for name, variable in self._variables.items()})
        except tf.errors.OpError as error:
            raise DamagedBundle(reason_of(error)) from None
        for name, value in values.items():
            if tuple(value.shape) != tuple(self._variables[name].shape):
                raise DamagedBundle(f"{name} has shape {tuple(value.shape)}")
        for name, value in values.items():
            self._variables[name].assign(value)
        return int(values[STEP])


def read(prefix: str, dtypes: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Read variables from a bundle; `dtypes` are their types by name.

    Raises:
        tf.errors.OpError: the bundle is damaged or lacks a variable.
    """
    names = sorted(dtypes)
    with bundle.literal(prefix) as path:
        values = tf.raw_ops.RestoreV2(prefix=path, tensor_names=names, shape_and_slices=[""] * len(names),
                                      dtypes=[tf.as_dtype(dtypes[name]) for name in names])
    return dict(zip(names, values))


def shapes_in(prefix: str) -> dict[str, list[int]]:
    """Return the shapes of the variables in a bundle, by name.

    Raises:
        ZooError: the bundle does not exist or is damaged.
    """
    bundle.require(prefix)
    try:
        with bundle.literal(prefix) as path:
            return dict(tf.train.load_checkpoint(path).get_variable_to_shape_map())
    except (tf.errors.OpError, ValueError) as error:
        raise bundle.damaged(prefix, error) from None


def restore_all(prefix: str, variables: Mapping[str, Any]) -> None:
    """Restore variables from a bundle, for programs that use a trained model.

    Raises:
        ZooError: the bundle is damaged, or a variable is missing or has another shape.
    """
    bundle.require_shapes(prefix, shapes_in(prefix), {name: variable.shape for name, variable in variables.items()})
    try:
        values = read(prefix, {name: variable.dtype for name, variable in variables.items()})
    except tf.errors.OpError as error:
        raise bundle.damaged(prefix, error) from None
    for name, value in values.items():
        variables[name].assign(value)


def initialise_from(prefix: str, variables: Mapping[str, Any]) -> list[str]:
    """Load the variables that a bundle has by the same name and shape, and leave the others as they are.

    Returns:
        A line for each variable that was not loaded, with the reason.

    Raises:
        ZooError: the bundle does not exist, is damaged, or has none of the variables.
    """
    expected = {name: variable.shape for name, variable in variables.items()}
    names, notices = bundle.loadable(prefix, shapes_in(prefix), expected)
    restore_all(prefix, {name: variables[name] for name in names})
    return notices


def named(names: Sequence[str], variables: Sequence[Any]) -> dict[str, Any]:
    """Pair unique names with variables."""
    assert len(set(names)) == len(names) == len(variables)
    return dict(zip(names, variables))
