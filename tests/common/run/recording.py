"""What a run records, without a model: its rows are made up, and its checkpoints hold a step alone."""
from __future__ import annotations

from common.checkpoints.bundle import CheckpointFolder
from common.cli.program import StopRequest
from common.graph.compat import tf as V1
from common.run import metrics
from common.run.loop import RunRecord

CURVES = {"loss": [metrics.Curve("step", "loss", "training")], "accuracy": [metrics.Curve("eval", "accuracy", "test")]}


class Listener:
    """Notes what it is told."""

    advice = "take less"
    curves = CURVES

    def __init__(self):
        self.rows = []

    def on_row(self, row, is_replayed):
        self.rows.append((row["kind"], row["step"], is_replayed))


class Deaf:
    """Forgets what it is told."""

    advice = "take less"
    curves = CURVES

    def on_row(self, row, is_replayed):
        pass


class Store:
    """A checkpoint folder that counts what is written to it; its bundles hold a step as text."""

    def __init__(self, run):
        self.step, self.saved = 0, []
        self._folder = CheckpointFolder(run.folder("ckpt"), self._write, self._read)

    def save(self, step, keep=()):
        self.step = step
        self.saved.append((step, list(keep)))
        return self._folder.save(step, keep)

    def prune(self, keep):
        self._folder.prune(keep)

    def wait(self):
        pass

    def restore_newest(self):
        return self._folder.restore_newest()

    def _write(self, prefix):
        for suffix in ("index", "data-00000-of-00001"):
            with open(f"{prefix}.{suffix}", "w", encoding="utf-8") as file:
                file.write(str(self.step))

    def _read(self, prefix):
        with open(f"{prefix}.index", encoding="utf-8") as file:
            return int(file.read())


def record_of(run, **options):
    """The record of a run that has started at time 0."""
    stop = StopRequest()
    stop.started = 0.0
    return RunRecord(run, stop, Store(run), V1, **options)


def step(record, number, **values):
    """Record a step with a loss of 1 that took half a second, or with other values."""
    record.step(number, dict(dict(loss=1.0, step_seconds=0.5), **values))
