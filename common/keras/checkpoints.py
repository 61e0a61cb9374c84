"""Checkpoints of Keras models: bundles of variables by name, as those of graph models.

The names are our own, and the same for every version of Keras. Keras' own formats differ between its versions, and
TensorFlow's object checkpoints depend on the Python structure of a model.
"""
from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Collection, Mapping

from common.checkpoints import bundle
from common.checkpoints.bundle import CheckpointFolder, DamagedBundle
from common.errors import reason_of
from common.keras.session import tf

STEP = "global_step"


class KerasCheckpoints(CheckpointFolder):
    """The checkpoints of one run: the given variables, and the number of updates as `global_step`."""

    def __init__(self, folder: str, variables: Mapping[str, Any]):
        """Open the folder for variables by name."""
        self._variables, self._step = dict(variables), 0
        self._captured: dict[str, tf.Tensor] = {}
        super().__init__(folder, self._write_bundle, self._read_bundle)

    def save(self, step: int, keep: Collection[int] = ()) -> str:
        self._step = step
        return super().save(step, keep)

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
        values[STEP] = tf.constant(self._step, tf.int64)
        names = sorted(values)
        with bundle.writing(prefix, tf.errors):
            tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names),
                              tensors=[values[name] for name in names])

    def _read_bundle(self, prefix: str) -> int:
        try:
            values = read(prefix, dict({name: variable.dtype for name, variable in self._variables.items()},
                                       **{STEP: tf.int64}))
        except tf.errors.OpError as error:
            raise DamagedBundle(reason_of(error)) from None
        step = int(values.pop(STEP))
        for name, value in values.items():
            if tuple(value.shape) != tuple(self._variables[name].shape):
                raise DamagedBundle(f"{name} has shape {tuple(value.shape)}")
        for name, value in values.items():
            self._variables[name].assign(value)
        return step


class BackgroundFolder:
    """A checkpoint folder whose files are written by a thread, one checkpoint at a time and in the order of the calls.

    A checkpoint still counts once its index exists, and a killed run resumes from the newest one that does.
    """

    def __init__(self, folder: CheckpointFolder, capture: Callable[[], None]):
        """Start no thread yet; `capture` keeps the values of now for the next save of the folder."""
        self._folder, self._capture = folder, capture
        self._thread = ThreadPoolExecutor(1)
        self._jobs: list[Future] = []
        self.restore_newest = folder.restore_newest

    def save(self, step: int, keep: Collection[int] = ()) -> None:
        """Save `model.ckpt-<step>` with the values of now, and prune; the file is there after `wait`.

        Raises ZooError if an earlier checkpoint could not be written.
        """
        self.wait()
        self._capture()
        self._jobs.append(self._thread.submit(self._folder.save, step, keep))

    def prune(self, keep: Collection[int]) -> None:
        """Remove steps as `CheckpointFolder.prune` does, after what is being written; errors as those of `save`."""
        for job in self._jobs:
            if job.done():
                job.result()
        self._jobs.append(self._thread.submit(self._folder.prune, keep))

    def wait(self) -> None:
        """Return once everything is on the disk; errors as those of `save`."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.result()


def read(prefix: str, dtypes: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Read variables of these types from a bundle; tf.errors.OpError if it is damaged or lacks one."""
    names = sorted(dtypes)
    with bundle.literal(prefix) as path:
        values = tf.raw_ops.RestoreV2(prefix=path, tensor_names=names, shape_and_slices=[""] * len(names),
                                      dtypes=[tf.as_dtype(dtypes[name]) for name in names])
    return dict(zip(names, values))


def restore_all(prefix: str, variables: Mapping[str, Any]) -> None:
    """Restore all variables of a trained model; ZooError if one is missing or of another shape, or damaged."""
    bundle.require_shapes(prefix, variables, tf)
    with bundle.reading(prefix, tf.errors):
        values = read(prefix, {name: variable.dtype for name, variable in variables.items()})
    for name, value in values.items():
        variables[name].assign(value)


def initialise_from(prefix: str, variables: Mapping[str, Any]) -> list[str]:
    """Load the variables that a bundle has by the same name and shape; return why, for each of the others.

    Raises ZooError if the bundle does not exist, is damaged, or has none of the variables.
    """
    names, notices = bundle.loadable(prefix, variables, tf)
    restore_all(prefix, {name: variables[name] for name in names})
    return notices
