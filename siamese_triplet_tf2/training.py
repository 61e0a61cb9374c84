"""The training loop of one worker, on features."""
from __future__ import annotations

import dataclasses
import shutil
import time
from typing import Callable

import numpy as np
import tensorflow as tf

from common.errors import ZooError
from common.keras import compat, debug, loop, session, workers
from common.keras.record import Record
from common.run import metrics, setup, timing
from siamese_triplet_tf2 import features, pretrained
from siamese_triplet_tf2.model import FEATURE_SHAPES, Embedding, build_embedding
from siamese_triplet_tf2.pairs import Pairs, Sampler, Triplets
from siamese_triplet_tf2.recipe import Switches
from siamese_triplet_tf2.update import Part, Updater

LEARNING_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        case: names the run in the result files.
        switches: the recipe's.
        batch_size: triplets in a step of all workers.
        seed: seed of weights, split, order and negatives.
        num_updates: updates to make.
        steps_per_epoch: updates in an epoch.
        split: "fixed" or "redrawn".
        backbone: "resnet50" or "tiny".
        weights: file of the backbone's weights, or None.
        batch_statistics: in training, normalise what trains with the statistics of the batch, of each tower its own.
        semi_hard: choose negatives within the batch.
        loss_scale: see `keras_run.scale_losses`.
        cache_features: "auto", "memory", "disk" or "off".
        processes: workers on this machine, which share its memory.
        static_shape: full batches only.
        performance: no evaluation.
        save_seconds: seconds between checkpoints.
        init_checkpoint: prefix of a checkpoint to take weights from, or None.
    """

    case: metrics.Case
    switches: Switches
    batch_size: int
    seed: int
    num_updates: int
    steps_per_epoch: int
    split: str
    backbone: str
    weights: str | None
    batch_statistics: bool
    semi_hard: bool
    loss_scale: str | None
    cache_features: str
    processes: int
    static_shape: bool
    performance: bool
    save_seconds: float
    init_checkpoint: str | None


@dataclasses.dataclass(frozen=True)
class Model:
    """What is trained, and the features that it is trained on."""

    embedding: Embedding
    optimizer: tf.Module
    updates: tf.Variable
    features: features.FeatureSource


class Loop(loop.Loop):
    """The loop of one worker."""

    def __init__(self, config: Config, data: Pairs, workers: workers.Workers, opened: setup.Started,
                 diagnosis: debug.StepDiagnosis):
        """Build the model and what feeds it.

        Args:
            config: the run.
            data: the pairs.
            workers: those that train together.
            opened: the run.
            diagnosis: runs the steps.
        """
        num = workers.rank.size
        self._positions = workers.positions(num * -(-config.batch_size // num))
        super().__init__(workers, loop.Length(config.num_updates, config.steps_per_epoch, not config.performance))
        self._config, self._data, self._diagnosis = config, data, diagnosis
        self._sampler = Sampler(len(data.left), config.seed, config.split, config.switches.negatives)
        with workers.scope():
            model = build_embedding(config.backbone, config.seed)
            optimizer = session.scale_losses(workers.distribute(tf.keras.optimizers.Adam(LEARNING_RATE)), opened,
                                               config.loss_scale)
        if config.weights:
            pretrained.load(model.whole, config.weights)
        self._updater = Updater(model, optimizer, config.batch_statistics, config.semi_hard, workers)
        self._model = Model(model, optimizer, self.updates, self._make_features(model, opened))
        self._triplets = Triplets(*np.zeros((3, 0), np.int64))

    def model(self) -> Model:
        return self._model

    def variables(self) -> list:
        return [*self._model.embedding.whole.weights, *compat.optimizer_variables(self._model.optimizer)]

    def _make_features(self, model: Embedding, opened: setup.Started) -> features.FeatureSource:
        config, images = self._config, self._data.images()
        shape = FEATURE_SHAPES[config.backbone]
        run = opened.run if isinstance(opened, setup.OpenRun) else None
        choice = run and run.arguments.get("cache_features")
        if not choice:
            is_alone = self._workers.rank.size == 1
            free_disk = shutil.disk_usage(run.path).free if run and is_alone else 0
            choice = features.choose(config.cache_features, len(images), shape,
                                     features.free_memory() // config.processes, free_disk)
        if run:
            run.remember("cache_features", choice)
        size = features.total_bytes(len(images), shape) / 1e6
        print(f"Features: {len(images)} images, {size:.0f} MB, " + {
            "memory": "kept in memory", "disk": "kept in the run directory", "off": "computed at every step"}[choice])
        compute = features.computer(model.frozen, images, config.switches.accurate_jpeg, config.switches.input_scale)
        self._kept_in = run.folder("features") if run and choice == "disk" else None
        if choice == "off":
            return features.FeatureSource(compute)
        return features.KeptFeatures(compute, shape, len(images))

    def prepare(self, check: Callable[[], None]) -> None:
        """Compute the features that are kept."""
        if not isinstance(self._model.features, features.KeptFeatures):
            return
        switches = self._config.switches
        started = time.perf_counter()
        mark = features.fingerprint(self._model.embedding.frozen, self._data.fingerprint(), switches.accurate_jpeg,
                                    switches.input_scale)
        self._model.features.fill(check, self._kept_in, mark)
        print(f"Features ready after {time.perf_counter() - started:.1f} s", flush=True)

    def begin_epoch(self, epoch: int) -> None:
        self._triplets = self._sampler.train(epoch)

    def step(self, record: Record, updates: int, is_stopping: bool) -> int:
        timer = timing.StepTimer()
        size, place = self._config.batch_size, updates % self._config.steps_per_epoch
        batch = self._triplets[place * size:(place + 1) * size]
        timer.start()
        part = self._part(batch)
        total, num_stopping = self._diagnosis.run(lambda dumps: self._updater(part, is_stopping, dumps), updates + 1)
        seconds = timer.stop()
        if not np.isfinite(total):
            raise ZooError(f"the loss is {total} at step {updates + 1}: training has diverged")
        record.step(updates + 1, total / len(batch), len(batch), seconds)
        return num_stopping

    def _part(self, batch: Triplets) -> Part:
        """This worker's part of a batch. All parts have one size: where they cannot, the batch's first triplet fills
        up and does not count.
        """
        numbers = self._positions[:-(-len(batch) // self._workers.rank.size)]
        own = batch[np.where(numbers < len(batch), numbers, 0)]
        kept = self._model.features[np.concatenate([own.anchor, own.positive, own.negative])]
        return Part(kept, own.own_pair(len(self._data.left)), (numbers < len(batch)).astype(np.float32))
