"""Files that the original writes besides its statistics: weights alone after every epoch, and texts about the run."""
from __future__ import annotations

import os
import time
from typing import Any, Mapping

from common import atomic_files
from common.checkpoints import store
from common.checkpoints.bundle import reason_of
from common.errors import ZooError
from common.graph.compat import tf
from common.run.run_dir import RunDir

FOLDER = "models"


class WeightsOnly:
    """The original's checkpoints: trainable variables alone, the newest one kept, the graph once."""

    def __init__(self, session: tf.Session, run: RunDir):
        self._session, self._folder = session, run.folder(FOLDER)
        self._stem = f"model-{run.arguments['started']}"
        self._saver = tf.train.Saver(tf.trainable_variables(), max_to_keep=None)

    def save(self, epoch: int) -> None:
        """Save `model-<start>.ckpt-<epoch>`, drop the one before; epochs count from 1."""
        print("Saving variables", flush=True)
        started = time.perf_counter()
        name = f"{self._stem}.ckpt-{epoch}"
        store.write_whole(self._folder, name, self._write)
        for other in os.listdir(self._folder):
            if other.startswith(f"{self._stem}.ckpt-") and not other.startswith(f"{name}."):
                os.remove(os.path.join(self._folder, other))
        atomic_files.write_text(os.path.join(self._folder, "checkpoint"),
                         f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')
        print(f"Variables saved in {time.perf_counter() - started:.2f} seconds")
        graph_path = os.path.join(self._folder, f"{self._stem}.meta")
        if not os.path.exists(graph_path):
            print("Saving metagraph")
            started = time.perf_counter()
            graph = tf.train.export_meta_graph(saver_def=self._saver.saver_def)
            atomic_files.write_bytes(graph_path, graph.SerializeToString())
            print(f"Metagraph saved in {time.perf_counter() - started:.2f} seconds", flush=True)

    def _write(self, prefix: str) -> None:
        try:
            self._saver.save(self._session, prefix, write_meta_graph=False, write_state=False)
        except (tf.errors.OpError, ValueError) as error:  # the saver turns some errors of the disk into ValueError
            raise ZooError(f"{prefix}: cannot be written ({reason_of(error)}); make space and start the run again"
                           ) from None


def write_texts(run: RunDir, arguments: Mapping[str, Any], command: str) -> None:
    """Write arguments.txt, a line `name: value` for each flag, and revision_info.txt."""
    lines = [f"{name}: {value}\n" for name, value in arguments.items()]
    atomic_files.write_text(run.file("arguments.txt"), "".join(lines))
    rule = "--------------------"
    atomic_files.write_text(run.file("revision_info.txt"),
                     f"arguments: {command}\n{rule}\ntensorflow version: {run.arguments['versions']['tensorflow']}\n"
                     f"{rule}\ngit hash: {run.arguments['git_revision']}\n{rule}\n")
