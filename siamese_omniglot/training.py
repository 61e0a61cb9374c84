"""Training with one worker or several: the task for `common.run.loop`."""
from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any, Mapping

import numpy as np

from common import console
from common.cli.program import StopRequest
from common.keras import session, workers
from common.keras.checkpoints import BackgroundFolder, KerasCheckpoints, initialise_from
from common.keras.session import StepDebugger, debugged, tf
from common.run import loop
from common.run.agreement import Epochs
from common.run.loop import Record, RunRecord
from common.run.metrics import Curve
from common.run.opening import Run
from siamese_omniglot import evaluation, log_lines, pretrained
from siamese_omniglot.data.batches import DEVICE_AUGMENTATIONS, Batches, ProcessesAhead, ThreadAhead
from siamese_omniglot.data.omniglot import VALIDATION, DrawingStore, PairSampler
from siamese_omniglot.device_drawings import DeviceDrawings
from siamese_omniglot.log_lines import OriginalLogs
from siamese_omniglot.nets import siamese
from siamese_omniglot.recipe import Switches
from siamese_omniglot.update import Updater, UpdateSettings, make_optimizer, schedule

ADVICE = "try a smaller --lr"
CURVES = {
    "loss": [Curve("step", "loss", "training batch"), Curve("eval", "val_loss", "validation")],
    "pair accuracy": [Curve("step", "accuracy", "training batch"), Curve("eval", "val_accuracy", "validation")],
    "equal error rate": [Curve("eval", "val_eer", "validation")],
}


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What training depends on besides the run and its flags."""

    switches: Switches
    steps_per_epoch: int
    num_epochs: int
    weight_decay: float  # see `update.UpdateSettings`
    weights_path: str | None  # a file with initial weights
    init_checkpoint: str | None  # prefix of a checkpoint with initial weights
    store: DrawingStore
    samplers: Mapping[str, PairSampler]  # of "train" and "validation"


def train(inputs: Inputs, run: Run, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint if there is one."""
    team = workers.make(run.request.rank, run.device.kind, run.request.flags.jit_compile)
    team.require_same(run.checksum)
    with debugged(run) as debugger, contextlib.closing(_Task(inputs, run, team, stop, debugger)) as task:
        loop.run(task, task.record)


def makes_images_on_device(switches: Switches, device_kind: str) -> bool:
    """Whether the device makes the images of a batch. An NPU is not known to have all operations for it."""
    return switches.augment in DEVICE_AUGMENTATIONS and device_kind != "npu"


class _Task:
    """Implements `loop.Task`."""

    advice = ADVICE
    curves = CURVES

    def __init__(self, inputs: Inputs, run: Run, team: workers.Workers, stop: StopRequest, debugger: StepDebugger):
        self._inputs, self._run, self._team, self._debugger = inputs, run, team, debugger
        flags, switches, num_updates = run.request.flags, inputs.switches, run.request.num_updates
        positions = team.positions(2 * flags.batch_size)  # of this worker's pairs in a batch
        with team.scope():
            self._network = siamese.build(flags.backbone, switches.head, flags.seed)
            self._optimizer = session.scale_losses(make_optimizer(flags.optimizer), run, "mixed")
        settings = UpdateSettings(switches.head, inputs.weight_decay, 2 * flags.batch_size,
                                  run.device.kind != "npu" and not flags.jit_compile, flags.loss)
        permute, own = "batch" if switches.head == "tf" else "sample", positions
        if flags.loss == "n_pair":
            permute, own = "none", 2 * np.arange(flags.batch_size)  # the pairs of one character
        batches = Batches(inputs.store, inputs.samplers["train"], flags.batch_size, flags.seed, switches.augment,
                          permute, own)
        if makes_images_on_device(switches, run.device.kind):
            # XLA cannot compile the numeric checks
            compiles = run.device.kind == "cpu" and not debugger.has_checks
            make_images = DeviceDrawings(inputs.store, compiles).images
            self._batches = ThreadAhead(batches, num_updates)
        else:
            make_images, self._batches = None, ProcessesAhead(batches, flags.num_workers, num_updates)
        self._updater = Updater(self._network, self._optimizer, settings, team, make_images)
        self.record: Record = Record(run, stop)
        if run.request.rank.is_chief:
            self.record = RunRecord(run, stop, self._checkpoints(), tf.compat.v1)
        self.steps_per_epoch = inputs.steps_per_epoch
        self._epochs = Epochs(team, self.record, inputs.steps_per_epoch)
        self.evaluation_due = self._epochs.evaluation_due
        self._rates = schedule(flags.lr_decay, flags.optimizer, flags.lr, flags.batch_size, inputs.num_epochs,
                               flags.warm_up)
        self._rate = float("nan")  # the optimizer's
        self._scorer = evaluation.Scorer(self._network)
        validation = inputs.samplers["validation"]
        num_validating = max(1, validation.num_drawings // flags.batch_size) * flags.batch_size
        self._validation_pairs = validation.draw(num_validating, VALIDATION, 0, "sample")
        self._logs = OriginalLogs(run, inputs.steps_per_epoch, inputs.num_epochs)

    def _checkpoints(self) -> KerasCheckpoints | BackgroundFolder:
        variables = session.optimizer_variables(self._optimizer)
        slots = {f"optimizer/{number:03d}": slot for number, slot in enumerate(variables)}
        folder = KerasCheckpoints(self._run.folder("ckpt"), {**self._network.named_variables(), **slots})
        return folder if self._run.device.kind == "npu" else folder.in_background()

    def close(self) -> None:
        """Stop preparing batches, and close the log."""
        self._batches.close()
        self._logs.close()

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        self._logs.on_row(row, is_replayed)

    def start(self, step: int | None) -> int:
        network = self._network
        if step is None:
            lines = []
            if self._inputs.weights_path:
                lines += pretrained.load(network.named_variables(), self._inputs.weights_path)
            if self._inputs.init_checkpoint:
                lines += initialise_from(self._inputs.init_checkpoint, network.named_variables())
            for line in lines:
                print(line)
        updates = tf.Variable(step or 0, dtype=tf.int64, trainable=False)
        self._team.broadcast([*network.chain.weights, *session.optimizer_variables(self._optimizer), updates])
        return int(updates.numpy())

    def step(self, step: int) -> dict[str, Any]:
        rate = self._rates(step // self.steps_per_epoch)
        if rate != self._rate:
            with self._team.scope():
                self._optimizer.learning_rate = rate
            self._rate = rate
        stop = self.record.stop
        started = time.perf_counter()
        batch = self._batches.get(step)
        fetched = time.perf_counter()
        outcome = self._debugger.run(lambda dumps: self._updater(batch, stop.is_signalled, dumps), step + 1)
        ended = time.perf_counter()
        stop.num_stopping = outcome.num_stopping
        return dict(unix_seconds=time.time(), loss=outcome.loss, accuracy=outcome.accuracy, learning_rate=rate,
                    data_seconds=fetched - started, compute_seconds=ended - fetched,
                    forward_seconds=outcome.forward_seconds, backward_seconds=outcome.backward_seconds,
                    update_seconds=outcome.update_seconds, step_seconds=ended - started,
                    **session.loss_scale_row(self._optimizer))

    def evaluate(self, step: int) -> dict[str, Any]:
        if not self._team.evaluates:
            return {}
        record, pairs = self.record, self._validation_pairs
        if isinstance(record, RunRecord):
            console.detail("Finish Train\nStart Validation")
        started = time.perf_counter()
        logits = evaluation.pair_logits(self._scorer, self._inputs.store, pairs, record.stop.check)
        if not isinstance(record, RunRecord):
            return {}
        result = evaluation.pair_result(logits, pairs.labels, self._inputs.switches.head)
        best = min((row["val_loss"] for row in record.evaluations), default=float("inf"))
        values: dict[str, Any] = dict(
            epoch=-(-step // self.steps_per_epoch), unix_seconds=time.time(), train_loss=self._logs.train_loss,
            num_pairs=result.pop("num_pairs"), best=result["loss"] <= best,
            evaluation_seconds=time.perf_counter() - started, **{f"val_{key}": result[key] for key in result})
        names = [log_lines.LAST]
        if values["best"]:
            names.append(log_lines.BEST)
        if values["epoch"] % log_lines.WEIGHTS_PERIOD == 0 or step == self._run.request.num_updates:
            names.append(log_lines.epoch_weights_name(values))
        self._logs.save_weights(self._network, names)
        return values

    def is_over(self, step: int) -> bool:
        ends_early = False
        if self._epochs.is_end(step) and isinstance(self.record, RunRecord):
            rows = self.record.evaluations
            since_best = len(rows) - max(count for count, row in enumerate(rows, 1) if row["best"])
            ends_early = 0 < self._run.request.flags.early_stop <= since_best
            if ends_early:
                print(f"Early stop: no better validation loss for {since_best} epochs.")
                self._logs.save_weights(self._network, [log_lines.epoch_weights_name(rows[-1])])
        return self._epochs.is_over(step, ends_early)

    def finish(self, step: int) -> None:
        if not isinstance(self.record, RunRecord):
            return
        rows = self.record.evaluations
        last = rows[-1] if rows else {}
        result = dict(ActualLoss=f"{last.get('train_loss', self._logs.last_loss):.4f}")
        if rows:
            result["TrainAccuracy"] = f"{last['val_accuracy']:.4f}"
        self.record.finish(step, last.get("val_accuracy"), result)
        print(f"Logs and weights: {self._logs.folder}", flush=True)
