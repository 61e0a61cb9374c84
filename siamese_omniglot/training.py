"""The training loop of one worker."""
from __future__ import annotations

import dataclasses
import time

import numpy as np
import tensorflow as tf

from common.cli.program import StopRequest
from common.errors import ZooError
from common.keras import compat, debug, loop, record, session, workers
from common.run import metrics, setup
from siamese_omniglot import pretrained, update
from siamese_omniglot.data.batches import Ahead, Batches, BatchRecipe
from siamese_omniglot.data.omniglot import DrawingStore
from siamese_omniglot.data.pairs import PairSampler
from siamese_omniglot.learning_rate import Schedule
from siamese_omniglot.nets import siamese
from siamese_omniglot.recipe import Switches


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

    case: metrics.Case
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


class Loop(loop.Loop):
    """The loop of one worker."""

    def __init__(self, config: Config, store: DrawingStore, sampler: PairSampler, workers: workers.Workers,
                 opened: setup.Started, diagnosis: debug.StepDiagnosis):
        """Build the model and what feeds it.

        Args:
            config: the run.
            store: the drawings.
            sampler: draws the pairs to train with.
            workers: those that train together.
            opened: the run.
            diagnosis: runs the steps.
        """
        positions = workers.positions(2 * config.batch_size)
        super().__init__(workers, loop.Length(config.num_updates, config.steps_per_epoch, not config.performance))
        self._config, self._diagnosis = config, diagnosis
        with workers.scope():
            self._network = siamese.build(config.backbone, config.switches.head, config.seed)
            self._optimizer = session.scale_losses(workers.distribute(update.make_optimizer(config.optimizer)),
                                                     opened, "mixed")
        if config.weights:
            for line in pretrained.load(self._network.named_variables(), config.weights):
                print(line)
        settings = update.Settings(config.switches.head, config.weight_decay, 2 * config.batch_size,
                                   opened.device.kind != "npu")
        self._updater = update.Updater(self._network, self._optimizer, settings, workers)
        permute = "batch" if config.switches.head == "tf" else "sample"
        recipe = BatchRecipe(config.batch_size, config.seed, config.switches.augment, permute, positions)
        self._batches = Ahead(Batches(store, sampler, recipe), config.num_workers, config.num_updates)

    def model(self) -> Model:
        return Model(self._network, self._optimizer, self.updates)

    def variables(self) -> list:
        return [*self._network.chain.weights, *compat.optimizer_variables(self._optimizer)]

    def run(self, record: record.Record, stop: StopRequest) -> None:
        """Train to the end of the run, from the place that the record gives."""
        try:
            super().run(record, stop)
        finally:
            self._batches.close()

    def begin_epoch(self, epoch: int) -> None:
        with self._workers.scope():
            self._optimizer.learning_rate = self._config.schedule.rate(epoch)

    def step(self, record: record.Record, updates: int, is_stopping: bool) -> int:
        started = time.perf_counter()
        batch = self._batches.get(updates)
        fetched = time.perf_counter()
        outcome = self._diagnosis.run(lambda dumps: self._updater(batch, is_stopping, dumps), updates + 1)
        ended = time.perf_counter()
        if not np.isfinite(outcome.loss):
            raise ZooError(f"the loss is {outcome.loss} at step {updates + 1}: training has diverged; take a smaller "
                           "--lr")
        rate = self._config.schedule.rate(updates // self._config.steps_per_epoch)
        record.step(updates + 1, outcome, rate, (fetched - started, ended - fetched))
        return outcome.num_stopping
