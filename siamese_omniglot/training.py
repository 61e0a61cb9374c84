"""The training loop of one worker."""
from __future__ import annotations

import dataclasses
import signal
import time

import numpy as np
import tensorflow as tf

from common import keras_diagnosis, keras_run, keras_versions, keras_workers, report, train_run
from common.program import Stopped, StopRequest, ZooError
from siamese_omniglot import update, weights
from siamese_omniglot.data.batches import Ahead, Batches, BatchRecipe
from siamese_omniglot.data.omniglot import DrawingStore
from siamese_omniglot.data.pairs import PairSampler
from siamese_omniglot.learning_rate import Schedule
from siamese_omniglot.nets import siamese
from siamese_omniglot.recipes import Switches


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        case: names the run in the result files.
        switches: the recipe's.
        backbone: "vgg16" or "conv4".
        batch_size: samples of two pairs in a step of all workers.
        seed: seed of weights, pairs and augmentation.
        num_updates: updates to make.
        steps_per_epoch: updates in an epoch.
        schedule: of the learning rate.
        optimizer: "sgd" or "adam".
        weight_decay: see `update.Settings`.
        early_stop: epochs without a better validation loss after which training ends; 0 for never.
        num_workers: threads that make batches.
        weights: file of weights to begin with, or None.
        init_checkpoint: prefix of a checkpoint to take weights from, or None.
        performance: no evaluation.
        save_seconds: seconds between checkpoints.
    """

    case: report.Case
    switches: Switches
    backbone: str
    batch_size: int
    seed: int
    num_updates: int
    steps_per_epoch: int
    schedule: Schedule
    optimizer: str
    weight_decay: float
    early_stop: int
    num_workers: int
    weights: str | None
    init_checkpoint: str | None
    performance: bool
    save_seconds: float


@dataclasses.dataclass(frozen=True)
class Model:
    """What is trained: the network, its optimizer, and the number of updates made."""

    network: siamese.Siamese
    optimizer: tf.Module
    updates: tf.Variable


class Silence:
    """The record of a worker that is not the chief: nothing is recorded, evaluated or saved."""

    def start(self, model: Model) -> int:
        """Return the updates made; rank 0's number comes by broadcast."""
        del model
        return 0

    def step(self, updates: int, outcome: update.Outcome, rate: float, seconds: tuple[float, float]) -> None:
        """Record a step."""

    def evaluate(self, updates: int) -> bool:
        """Evaluate; return whether training is to end here."""
        del updates
        return False

    def save(self, updates: int) -> None:
        """Save a checkpoint."""

    def save_if_due(self, updates: int) -> None:
        """Save a checkpoint when the last one is old."""

    def finish(self, updates: int) -> None:
        """Finish the run."""


class Loop:
    """The loop of one worker. All workers go through the same steps; rank 0's record writes."""

    def __init__(self, config: Config, store: DrawingStore, sampler: PairSampler, workers: keras_workers.Workers,
                 opened: train_run.Started, diagnosis: keras_diagnosis.StepDiagnosis):
        """Build the model and what feeds it.

        Args:
            config: the run.
            store: the drawings.
            sampler: draws the pairs to train with.
            workers: those that train together.
            opened: the run.
            diagnosis: runs the steps.
        """
        self._config, self._workers, self._diagnosis = config, workers, diagnosis
        with workers.scope():
            network = siamese.build(config.backbone, config.switches.head, config.seed)
            optimizer = keras_run.scale_losses(update.make_optimizer(config.optimizer), opened, None)
            counter = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.model = Model(network, optimizer, counter)
        if config.weights:
            for line in weights.load(network.named_variables(), config.weights):
                print(line)
        settings = update.Settings(config.switches.head, config.weight_decay, 2 * config.batch_size,
                                   opened.device.kind != "npu")
        self._updater = update.Updater(network, optimizer, settings, workers)
        permute = "batch" if config.switches.head == "tf" else "sample"
        recipe = BatchRecipe(config.batch_size, config.seed, config.switches.augment, permute, workers.rank.number,
                             workers.rank.size)
        self._batches = Ahead(Batches(store, sampler, recipe), config.num_workers, config.num_updates)

    def run(self, record: Silence, stop: StopRequest) -> None:
        """Train to the end of the run, from the place that the record gives."""
        try:
            with stop.deferred():
                updates = self._begin(record)
                updates = self._train(record, updates, stop)
                record.save(updates)
                record.finish(updates)
                stop.complete()
        finally:
            self._batches.close()

    def _begin(self, record: Silence) -> int:
        updates = record.start(self.model)
        self.model.updates.assign(updates)
        self._workers.broadcast(self._all_variables())
        return int(self.model.updates.numpy())

    def _all_variables(self) -> list:
        slots = keras_versions.optimizer_variables(self.model.optimizer)
        return [*self.model.network.chain.weights, *slots, self.model.updates]

    def _train(self, record: Silence, updates: int, stop: StopRequest) -> int:
        config, is_alone = self._config, self._workers.rank.size == 1
        epoch_of_rate = -1
        while True:
            if is_alone and stop.requested:
                record.save(updates)
                stop.check()
            if self._is_evaluation_due(updates) and self._workers.agree(float(record.evaluate(updates))) > 0:
                return updates
            if updates == config.num_updates:
                return updates
            epoch = updates // config.steps_per_epoch
            if epoch != epoch_of_rate:
                epoch_of_rate = epoch
                self._set_rate(config.schedule.rate(epoch))
            outcome = self._step(record, updates, stop)
            updates += 1
            self.model.updates.assign(updates)
            if outcome.num_stopping:
                record.save(updates)
                stop.check()
                raise Stopped(signal.SIGTERM)  # another worker has been told to stop
            record.save_if_due(updates)

    def _set_rate(self, rate: float) -> None:
        with self._workers.scope():
            self.model.optimizer.learning_rate = rate

    def _step(self, record: Silence, updates: int, stop: StopRequest) -> update.Outcome:
        started = time.perf_counter()
        batch = self._batches.get(updates)
        fetched = time.perf_counter()
        is_stopping = stop.requested and self._workers.rank.size > 1
        outcome = self._diagnosis.run(lambda dumps: self._updater(batch, is_stopping, dumps), updates + 1)
        ended = time.perf_counter()
        if not np.isfinite(outcome.loss):
            raise ZooError(f"the loss is {outcome.loss} at step {updates + 1}: training has diverged; take a smaller "
                           "--lr")
        rate = self._config.schedule.rate(updates // self._config.steps_per_epoch)
        record.step(updates + 1, outcome, rate, (fetched - started, ended - fetched))
        return outcome

    def _is_evaluation_due(self, updates: int) -> bool:
        at_epoch = updates > 0 and updates % self._config.steps_per_epoch == 0
        return not self._config.performance and (at_epoch or updates == self._config.num_updates)
