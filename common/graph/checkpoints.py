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
        with bundle.writing(prefix, tf.errors):
            self._saver.save(self._session, prefix, write_meta_graph=with_graph, write_state=False)

    def _read_bundle(self, prefix: str) -> int:
        try:
            with bundle.literal(prefix) as path:
                self._saver.restore(self._session, path)
            return int(self._session.run(self._global_step))
        except (tf.errors.OpError, ValueError) as error:
            raise DamagedBundle(reason_of(error)) from None


def restore_all(session: tf.Session, prefix: str, variables: Collection[tf.Variable]) -> None:
    """Restore all variables of a trained model; errors as those of `load`."""
    load(session, prefix, {variable.op.name: variable for variable in variables})


def load(session: tf.Session, prefix: str, variables: Mapping[str, tf.Variable]) -> None:
    """Load variables by their names in a bundle; ZooError if one is missing or of another shape, or it is damaged."""
    bundle.require_shapes(prefix, variables, tf)
    with bundle.reading(prefix, tf.errors) as path:
        tf.train.Saver(dict(variables)).restore(session, path)


def initialise_from(session: tf.Session, prefix: str, variables: Collection[tf.Variable]) -> list[str]:
    """Load the variables that a bundle has by the same name and shape; return why, for each of the others.

    Raises ZooError if the bundle does not exist, is damaged, or has none of the variables.
    """
    by_name = {variable.op.name: variable for variable in variables}
    names, notices = bundle.loadable(prefix, by_name, tf)
    load(session, prefix, {name: by_name[name] for name in names})
    return notices
