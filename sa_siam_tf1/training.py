"""Training: what SA-Siam does in `common.run.loop`."""
from __future__ import annotations

import collections
import contextlib
import io
import os
import time
from typing import Any, Iterator, Mapping, NamedTuple

import numpy as np
from PIL import Image

from common import console
from common.checkpoints import bundle
from common.cli.program import StopRequest
from common.graph import npu
from common.graph.checkpoints import Checkpoints, initialise_from
from common.graph.compat import assign, tf
from common.graph.session import StepDebugger, session_config
from common.run import loop
from common.run.loop import RunRecord
from common.run.metrics import Curve, EventWriter, GrowingText
from common.run.opening import Run
from sa_siam_tf1 import configuration, log_lines, siamese_model
from sa_siam_tf1.configuration import ModelConfig, TrackConfig, TrainConfig
from sa_siam_tf1.datasets.dataloader import Batch, CropBatch, crop_batches, training_batches, validation_batches
from sa_siam_tf1.datasets.imdb import Tracks
from sa_siam_tf1.siamese_model import DeviceImages, Towers, TrainGraph

ADVICE = "try a smaller --initial_lr, or look for the op with --over_dump"
NUM_SHOWN = 3  # pairs of images for TensorBoard
HISTOGRAM_BINS = 30
NUM_AVERAGED = 10  # logged losses whose mean is the final accuracy
CHECKPOINT_FOLDERS = {"appearance": "SA-Siam-Appearance", "semantic": "SA-Siam-Semantic"}  # as in the original
CURVES = {
    "loss": [Curve("step", "loss", "total, training batch"), Curve("step", "batch_loss", "batch, training batch"),
             Curve("eval", "valid_loss", "batch, validation")],
    "validation errors": [Curve("eval", "center_score_error", "center score"),
                          Curve("eval", "center_dist_error", "center distance")],
}


class Config(NamedTuple):
    """What training depends on besides the run."""

    model: ModelConfig
    train: TrainConfig
    track: TrackConfig  # only stored in the run directory, to track with the weights
    init_checkpoint: str | None  # prefix of a checkpoint to take weights from
    imported: Mapping[str, np.ndarray]  # initial values from files of other programs, by variable
    keeps_crops: bool = False  # in memory once they are decoded


class _Graphs(NamedTuple):
    images: DeviceImages | None  # makes the images of `train`; None if they are fed
    train: TrainGraph
    validation: Towers | None  # on the variables of `train`; None without validation data and in speed runs
    debugger: StepDebugger
    initialise: tf.Operation


def train(config: Config, data: Tracks, run: Run, stop: StopRequest) -> None:
    """Train to the end of the run, from its newest checkpoint when it has one."""
    configuration.save(run.path, config.model, config.train, config.track)
    with tf.Graph().as_default():
        images = _device_images(config, data, run)
        graph = siamese_model.build_training(config.model, config.train,
                                             npu.scales_losses(run.device, config.train.dynamic_loss_scale),
                                             images and (images.exemplars, images.instances))
        debugger = StepDebugger(run, dict(
            exemplars=graph.towers.exemplars, instances=graph.towers.instances, response=graph.towers.response,
            **{f"gradient/{variable.op.name}": gradient for gradient, variable in graph.gradients}))
        validation = None
        if data.validation and not run.request.performance:
            validation = siamese_model.build_validation(config.model, config.train.batch_size, config.train.seed)
        graphs = _Graphs(images, graph, validation, debugger, tf.global_variables_initializer())
        with tf.Session(config=session_config(run)) as session:
            checkpoints = Checkpoints(run.folder("ckpt"), session, graph.global_step)
            record = RunRecord(run, stop, checkpoints, tf)
            with contextlib.closing(_Task(config, data, graphs, session, record)) as task:
                loop.run(task, record)


def _device_images(config: Config, data: Tracks, run: Run) -> DeviceImages | None:
    """Let the device make the images of training. An NPU is not known to have all operations for it."""
    if run.device.kind == "npu":
        return None
    return DeviceImages(config.train.batch_size, sum(map(len, data.train)) if config.keeps_crops else 0,
                        config.train.gray_probability > 0.0)


class _Task:
    """See `loop.Task`; close it to stop the reading threads and to complete its files."""

    advice = ADVICE
    curves = CURVES

    def __init__(self, config: Config, data: Tracks, graphs: _Graphs, session: tf.Session, record: RunRecord):
        self._config, self._data, self._graphs, self._session, self._record = config, data, graphs, session, record
        self._run = record.run
        self._performance = self._run.request.performance
        self.steps_per_epoch = config.train.steps_per_epoch
        self._batches: Any = None  # a generator
        self._images = PairImages(os.path.join(self._run.path, "events", "images"))
        self._table = GrowingText(self._run.file(f"{config.model.branch}_npu.csv"), log_lines.TABLE_HEAD)
        self._losses = GrowingText(self._run.file(f"{self._run.request.case_name}_loss.txt"))
        self._logged_losses: collections.deque = collections.deque(maxlen=NUM_AVERAGED)

    def close(self) -> None:
        for resource in filter(None, (self._batches, self._images, self._table, self._losses)):
            resource.close()

    def start(self, step: int | None) -> int:
        variables = [variable.op.name for variable in tf.trainable_variables()]
        for line in log_lines.start_lines(self._config.model.init_method, variables):
            console.detail(line)
        if step is None:
            self._initialise()
        else:
            prefix = os.path.join(self._record.checkpoints.folder, f"{bundle.PREFIX}-{step}")
            print(f"Restore from last checkpoint: {prefix}")
        self._batches = self._open_batches(step or 0)
        console.detail(f"Train for {self._run.request.num_updates} steps")
        return step or 0

    def _initialise(self) -> None:
        """Set the initial weights; print a line for each variable that --init_checkpoint does not hold."""
        self._session.run(self._graphs.initialise)
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        assign(self._session, {variables[name]: value for name, value in self._config.imported.items()})
        if self._config.init_checkpoint:
            weights = [variable for name, variable in variables.items()
                       if variable is not self._graphs.train.global_step and not name.endswith("/Momentum")]
            for line in initialise_from(self._session, self._config.init_checkpoint, weights):
                print(line)

    def _open_batches(self, step: int) -> Iterator[Batch] | Iterator[CropBatch]:
        images, keeps_crops = self._graphs.images, self._config.keeps_crops
        arguments = (self._data.train, self._config.train, step)
        if images is None:
            return training_batches(*arguments, keeps_crops)
        if keeps_crops and not images.reserve(self._session):
            print("Notice: the device has too little memory for the crops; they are decoded at every use.")
            keeps_crops = False
        return crop_batches(*arguments, keeps_crops)

    def is_over(self, step: int) -> bool:
        return False

    def step(self, step: int) -> dict[str, Any]:
        graph, towers = self._graphs.train, self._graphs.train.towers
        learning_rate = self._config.train.learning_rate(step)
        started = time.perf_counter()
        batch, images = next(self._batches), self._graphs.images
        feeds = dict(images.feeds(batch) if images else _feeds(towers, batch))
        feeds[graph.learning_rate] = learning_rate
        fetches = dict(loss=graph.total_loss, batch_loss=towers.batch_loss, response=towers.response,
                       train_op=graph.train_op)
        is_shown = step % log_lines.SUMMARY_INTERVAL == 0 and not self._performance
        if is_shown and images:  # an NPU, whose images are fed, would compile the step again for other fetches
            fetches["images"] = Batch(towers.exemplars, towers.instances)
        values = self._graphs.debugger.run(self._session, fetches, feeds, step + 1)
        seconds = time.perf_counter() - started
        loss, errors = float(values["loss"]), {}
        if is_shown and np.isfinite(loss):  # otherwise the record ends the run
            errors = siamese_model.center_errors(values["response"])
            self._images.add("train", step + 1, values.get("images", batch), values["response"])
        return dict(loss=loss, batch_loss=float(values["batch_loss"]), learning_rate=learning_rate,
                    step_seconds=seconds, **errors, **npu.loss_scale_row(values))

    def _is_epoch_end(self, step: int) -> bool:
        at_end = step % self.steps_per_epoch == 0 or step == self._run.request.num_updates
        return step > 0 and at_end and not self._performance

    def evaluation_due(self, step: int) -> bool:
        return self._graphs.validation is not None and self._is_epoch_end(step)

    def evaluate(self, step: int) -> dict[str, Any]:
        """Compute loss and errors over all validation pairs."""
        started = time.perf_counter()
        graph, parts = self._graphs.validation, []
        assert graph is not None
        for batch, count in validation_batches(self._data.validation, self._config.train):
            self._record.stop.check()
            response, decay = self._session.run([graph.response, self._graphs.train.weight_decay],
                                                _feeds(graph, batch))
            if not parts:
                self._images.add("validation", step, batch, response[:count])
            parts.append(response[:count])
        responses = np.concatenate(parts)
        loss = float(siamese_model.pair_losses(responses).mean())
        best = min((row["valid_loss"] for row in self._record.evaluations), default=np.inf)
        return dict(best=loss < best, valid_loss=loss, valid_total_loss=loss + float(decay),
                    **siamese_model.center_errors(responses), evaluation_seconds=time.perf_counter() - started)

    def on_row(self, row: Mapping[str, Any], is_replayed: bool) -> None:
        if row["kind"] == "eval" and not is_replayed:
            console.detail(log_lines.validation_line(row))
        if row["kind"] != "step":
            return
        if (row["step"] - 1) % log_lines.SUMMARY_INTERVAL == 0:
            self._table.add(log_lines.table_line(row))
        if (row["step"] - 1) % log_lines.LOG_INTERVAL == 0:
            self._losses.add(f"{row['loss']:.2f}\n")
            self._logged_losses.append(row["loss"])
            if not is_replayed:
                console.detail(log_lines.step_line(row, self._config.train.batch_size, self._run.request.num_updates))
        if self._is_epoch_end(row["step"]) and not is_replayed:
            # before the loop saves its own checkpoint: a run that is resumed from that one has both
            folder = self._run.folder(f"track_model_checkpoints/{CHECKPOINT_FOLDERS[self._config.model.branch]}")
            self._record.checkpoints.save_as(folder, f"model.ckpt-{row['step'] - 1}")  # steps counted from 0

    def finish(self, step: int) -> None:
        mean = sum(self._logged_losses) / len(self._logged_losses)
        result = dict(ActualLoss=f"{self._logged_losses[-1]:.4f}")
        if not self._performance:
            result["TrainAccuracy"] = f"{mean:.4f}"
        # which `Final Train Accuracy` is too
        print(f"Mean total loss of the last {len(self._logged_losses)} logged steps : {mean:.4f}")
        self._record.finish(step, mean, result)


def _feeds(towers: Towers, batch: Batch) -> dict[tf.Tensor, np.ndarray]:
    return {towers.exemplars: batch.exemplars, towers.instances: batch.instances}


class PairImages:
    """Pairs with their responses, for TensorBoard: an event file, made at the first one; a resumed run adds another."""

    def __init__(self, folder: str):
        self._folder = folder
        self._writer: EventWriter | None = None

    def add(self, family: str, step: int, batch: Batch, response: np.ndarray) -> None:
        """Write the first pairs of a batch, with their responses and the ground truth.

        `family` begins the tags. Responses are float32 [num, cells, cells], finite; pairs beyond them are left out.
        """
        if self._writer is None:
            os.makedirs(self._folder, exist_ok=True)
            self._writer = EventWriter(self._folder, tf)
        shown = response[:NUM_SHOWN]
        values = [_image(f"{family}/{tag}/{index}", image) for tag, images in (
            ("exemplar", batch.exemplars), ("instance", batch.instances), ("Response", response))
            for index, image in enumerate(images[:len(shown)])]
        counts, edges = np.histogram(response.astype(np.float64), HISTOGRAM_BINS)
        histogram = tf.HistogramProto(
            min=response.min(), max=response.max(), num=response.size, sum=response.sum(dtype=np.float64),
            sum_squares=np.square(response, dtype=np.float64).sum(), bucket_limit=edges[1:], bucket=counts)
        self._writer.add(step, [*values, _image(f"{family}/GT", siamese_model.ground_truth(response.shape[1])),
                                tf.Summary.Value(tag=f"{family}/Response", histo=histogram)])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _image(tag: str, image: np.ndarray) -> tf.Summary.Value:
    """Return [height, width, 3], RGB, or a map [height, width] from its lowest value, black, to its highest, white."""
    if image.ndim == 2:
        low, high = float(image.min()), float(image.max())
        image = np.repeat(np.round((image - low) * (255.0 / (high - low) if high > low else 0.0))[..., None], 3, axis=2)
    png = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(image, 0, 255))).save(png, "PNG")
    return tf.Summary.Value(tag=tag, image=tf.Summary.Image(
        height=image.shape[0], width=image.shape[1], colorspace=3, encoded_image_string=png.getvalue()))
