"""Checkpoints of graph models: all global variables by name, saved and restored by tf.train.Saver."""
from __future__ import annotations

import os
from typing import Callable, Collection, Mapping

from common import atomic_files
from common.checkpoints import bundle
from common.checkpoints.bundle import CheckpointFolder, DamagedBundle
from common.errors import reason_of
from common.graph.compat import tf


class Checkpoints(CheckpointFolder):
    """The checkpoints of one run: all global variables of the default graph."""

    def __init__(self, folder: str, session: tf.Session, global_step: tf.Variable,
                 before_save: Callable[[], None] = lambda: None):
        """Create the saver of all variables; `before_save` updates those that only serve checkpoints."""
        self._before_save = before_save
        self._saver = tf.train.Saver(tf.global_variables(), max_to_keep=None)
        self._session = session
        self._global_step = global_step
        super().__init__(folder, self._write_bundle, self._read_bundle)

    def save_as(self, folder: str, name: str) -> None:
        """Save a bundle under another name, with the graph and TensorFlow's `checkpoint` file next to it."""
        bundle.write_atomically(folder, name, lambda prefix: self._write_bundle(prefix, with_graph=True))
        graph = self._session.graph.as_graph_def(add_shapes=True)
        atomic_files.write_text(os.path.join(folder, "graph.pbtxt"), str(graph))
        atomic_files.write_text(os.path.join(folder, "checkpoint"),
                         f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')

    def _write_bundle(self, prefix: str, with_graph: bool = False) -> None:
        self._before_save()
        try:
            self._saver.save(self._session, prefix, write_meta_graph=with_graph, write_state=False)
        except (tf.errors.OpError, ValueError) as error:  # the saver turns some disk errors into ValueError
            raise bundle.not_written(prefix, error) from None

    def _read_bundle(self, prefix: str) -> int:
        try:
            with bundle.literal(prefix) as path:
                self._saver.restore(self._session, path)
            return int(self._session.run(self._global_step))
        except (tf.errors.OpError, ValueError) as error:
            raise DamagedBundle(reason_of(error)) from None


def shapes_in(prefix: str) -> dict[str, list[int]]:
    """Return the shapes of the variables in a bundle, by name; ZooError if it does not exist or is damaged."""
    bundle.require(prefix)
    try:
        with bundle.literal(prefix) as path:
            return dict(tf.train.load_checkpoint(path).get_variable_to_shape_map())
    except (tf.errors.OpError, ValueError) as error:
        raise bundle.damaged(prefix, error) from None


def restore_all(session: tf.Session, prefix: str, variables: Collection[tf.Variable]) -> None:
    """Restore all variables of a trained model; ZooError if one is missing or of another shape, or damaged."""
    bundle.require_shapes(prefix, shapes_in(prefix), _shapes_of(variables))
    load(session, prefix, {variable.op.name: variable for variable in variables})


def load(session: tf.Session, prefix: str, variables: Mapping[str, tf.Variable]) -> None:
    """Load variables by the names that they have in a bundle; ZooError if it is damaged."""
    try:
        with bundle.literal(prefix) as path:
            tf.train.Saver(dict(variables)).restore(session, path)
    except (tf.errors.OpError, ValueError) as error:
        raise bundle.damaged(prefix, error) from None


def initialise_from(session: tf.Session, prefix: str, variables: Collection[tf.Variable]) -> list[str]:
    """Load the variables that a bundle has by the same name and shape; return why, for each of the others.

    Raises ZooError if the bundle does not exist, is damaged, or has none of the variables.
    """
    names, notices = bundle.loadable(prefix, shapes_in(prefix), _shapes_of(variables))
    restore_all(session, prefix, [variable for variable in variables if variable.op.name in set(names)])
    return notices


def _shapes_of(variables: Collection[tf.Variable]) -> dict[str, list[int]]:
    return {variable.op.name: variable.shape.as_list() for variable in variables}
