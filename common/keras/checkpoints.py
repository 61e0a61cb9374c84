"""Checkpoints of Keras models: variables by names of our own, the same on every Keras, in bundles as graph models do.

Keras' own formats differ between its versions, and TensorFlow's object checkpoints follow a model's Python structure.
"""
from __future__ import annotations

from typing import Any, Mapping, Sequence

import tensorflow as tf

from common.checkpoints import bundle
from common.checkpoints.bundle import reason_of
from common.checkpoints.store import CheckpointFolder, DamagedBundle
from common.errors import ZooError

STEP = "global_step"


class KerasCheckpoints(CheckpointFolder):
    """The checkpoints of one run, of given variables and a step counter."""

    def __init__(self, folder: str, variables: Mapping[str, Any], global_step: Any):
        """Open the folder.

        Args:
            folder: the folder.
            variables: tf.Variable or Keras variables by name.
            global_step: an integer variable, saved as `global_step`.
        """
        self._variables = dict(variables, **{STEP: global_step})
        super().__init__(folder, self._write_bundle, self._read_bundle)

    def _write_bundle(self, prefix: str) -> None:
        names = sorted(self._variables)
        try:
            tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names),
                              tensors=[tf.convert_to_tensor(self._variables[name]) for name in names])
        except tf.errors.OpError as error:
            raise ZooError(f"{prefix}: no checkpoint can be written ({reason_of(error)}); the ones before it stand, "
                           "make space and start the run again") from None

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
    """Read variables from a bundle.

    Args:
        prefix: of the bundle.
        dtypes: dtype by name.

    Raises:
        tf.errors.OpError: the bundle is damaged or lacks a variable.
    """
    names = sorted(dtypes)
    values = tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names),
                                  dtypes=[tf.as_dtype(dtypes[name]) for name in names])
    return dict(zip(names, values))


def shapes_in(prefix: str) -> dict[str, list[int]]:
    """Return the shape of every variable of a bundle, by name.

    Raises:
        ZooError: there is no such bundle, or it is damaged.
    """
    bundle.require(prefix)
    try:
        return dict(tf.train.load_checkpoint(prefix).get_variable_to_shape_map())
    except (tf.errors.OpError, ValueError) as error:
        raise bundle.damaged(prefix, error) from None


def restore_all(prefix: str, variables: Mapping[str, Any]) -> None:
    """Restore variables from a bundle, for programs that use a model without training it.

    Raises:
        ZooError: the bundle is damaged or lacks one of the variables.
    """
    bundle.require_shapes(prefix, shapes_in(prefix), {name: variable.shape for name, variable in variables.items()})
    try:
        values = read(prefix, {name: variable.dtype for name, variable in variables.items()})
    except tf.errors.OpError as error:
        raise bundle.damaged(prefix, error) from None
    for name, value in values.items():
        variables[name].assign(value)


def initialise_from(prefix: str, variables: Mapping[str, Any]) -> list[str]:
    """Take weights from a bundle, by name and shape, and leave the rest as it is.

    Returns:
        One line for each variable that was not loaded, with the reason.

    Raises:
        ZooError: there is no such checkpoint, it is damaged, or nothing in it fits.
    """
    wanted = {name: variable.shape for name, variable in variables.items()}
    names, left_out = bundle.fitting(prefix, shapes_in(prefix), wanted)
    restore_all(prefix, {name: variables[name] for name in names})
    return left_out


def named(names: Sequence[str], variables: Sequence[Any]) -> dict[str, Any]:
    """Pair names with variables; every name stands once."""
    assert len(set(names)) == len(names) == len(variables)
    return dict(zip(names, variables))
