"""Measure the host's share of a step: python3 benchmarks/host.py [--case=NAME]... [--device=gpu] [PYTHON...].

A case is the real program on drawn data of the real size. In place of its network it has one that computes next to
nothing and has the same inputs and outputs; where the rest of the step counts beside the host, that is replaced too.
What is left is the host's share: reading, feeding, fetching, rows of metrics. Wall and CPU milliseconds a step, the
median over blocks of steps; every case runs in a process of its own.
"""
from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any, Callable, Iterable

COLUMNS = (("case", "case", "{}"), ("TensorFlow", "tensorflow", "{}"), ("host ms a step", "wall_ms", "{:.2f}"),
           ("host CPU ms a step", "cpu_ms", "{:.2f}"), ("load of the machine", "load", "{:.1f}"))


class Clock:
    """Notes wall and CPU seconds after every step.

    Attributes:
        device: kind of the device to compute on.
        helpers: ids of other processes whose CPU seconds count.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.helpers: list[int] = []
        self._marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        """A step has ended."""
        cpu = time.process_time() + sum(map(_cpu_seconds, self.helpers))
        self._marks.append((time.perf_counter(), cpu))

    def per_step(self, warm_up: int, block: int) -> tuple[float, float]:
        """Return the median wall and CPU seconds of a step over blocks of steps, without the first steps."""
        ends = self._marks[warm_up::block]
        blocks = [[(late - early) / block for early, late in zip(*pair)] for pair in zip(ends, ends[1:])]
        wall, cpu = (statistics.median(values) for values in zip(*blocks))
        return wall, cpu


def _cpu_seconds(process: int) -> float:
    """Return the CPU seconds of another process, from its clock (Linux)."""
    return time.clock_gettime(~process << 3 | 2)


Case = Callable[[str, Clock], None]  # works in a temporary folder; marks every step


def train(clock: Clock, main: Callable[[list[str]], int], folder: str, arguments: Iterable[str]) -> None:
    """Train with a train entry's `main`, marking the moment when the row of a step is written."""
    from common.run.loop import RunRecord

    write = RunRecord.step

    def step(self, *values: Any) -> None:
        write(self, *values)
        clock.mark()

    RunRecord.step = step  # type: ignore[method-assign]
    status = main([f"--output_path={folder}/runs", f"--device={clock.device}", "--performance", *arguments])
    if status:
        raise SystemExit(status)


def gitloss(folder: str, clock: Clock, *flags: str) -> None:
    """A training step of Git loss, batch 128, on 55,000 images."""
    import numpy as np

    from common.graph.compat import tf
    from common.tiny_data import mnist as files
    from gitloss_tf1 import git_loss, gitloss, model

    def trivial(images: tf.Tensor, seed: int) -> model.Outputs:
        features = model.dense(images[:, 14, 14], model.FEATURE_DIM, "fc1", seed)
        return model.Outputs(features, tf.tile(features, [1, 5]))

    def loss(features: tf.Tensor, *_: Any) -> git_loss.GitLoss:
        return git_loss.GitLoss(*[tf.reduce_mean(features)] * 5)

    random = np.random.RandomState(0)
    for name, num in (("train", 60000), ("t10k", 1000)):
        files.write_idx(os.path.join(folder, f"{name}-images-idx3-ubyte"), random.randint(0, 256, (num, 28, 28)))
        files.write_idx(os.path.join(folder, f"{name}-labels-idx1-ubyte"), np.arange(num) % 10)
    model.network = trivial  # type: ignore[assignment]
    git_loss.git_loss, git_loss.center_distances = loss, lambda features, *_: features
    git_loss.update_centers = lambda *_: tf.no_op()
    tf.train.AdamOptimizer = lambda *_: tf.train.GradientDescentOptimizer(0.0)
    train(clock, gitloss.main, folder, [f"--data_path={folder}", "--train_steps=1300", *flags])


def circleloss(folder: str, clock: Clock) -> None:
    """A training step of Circle loss, batch 30, on 300 JPEG files of 112 x 112 pixels."""
    from circleloss_tf1 import train_acc
    from circleloss_tf1.models import resnet
    from common.graph.compat import tf
    from common.tiny_data import faces

    def trivial(images: tf.Tensor, model_def: str, seed: int, batch_norm: str, workers: Any = None) -> resnet.Outputs:
        kernel = tf.get_variable("trivial/kernel", [3, resnet.ARCHITECTURES[model_def].channels[-1]])
        return resnet.Outputs(tf.matmul(images[:, 56, 56], kernel), images, [images], [])

    faces.SIDE = 112
    faces.make(folder, num_people=30)
    resnet.network = trivial
    train(clock, train_acc.main, folder, [f"--data_path={folder}", "--train_steps=230", "--sample_with_replacement",
                                          f"--lfw_pairs={folder}/{faces.PAIRS_FILE}"])


def sa_siam_training(folder: str, clock: Clock, *flags: str, makes_images: bool = False) -> None:
    """A training step of SA-Siam's appearance branch, batch 8, on crops of 255 x 255 pixels."""
    import numpy as np

    from common.graph.compat import tf
    from common.tiny_data import tracking
    from sa_siam_tf1 import siamese_model, train_siamese_model
    from sa_siam_tf1.scripts import preprocess_VID_data

    def change(crops: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
        side = siamese_model.TRAIN_SIDE
        images = tf.constant(np.zeros((int(crops.shape[0]), side, side, 3), np.float32))
        with tf.control_dependencies([crops, changes]):
            return tf.identity(images)

    if not makes_images:
        siamese_model.change = change
    tracking.make(folder, num_videos=16, num_frames=10, num_sequences=0)
    curated = os.path.join(folder, "curated")
    preprocess_VID_data.main([f"--data_path={folder}/ILSVRC2015", f"--save_path={curated}"])
    _replace_embeddings()
    train(clock, train_siamese_model.main, folder, [f"--data_path={curated}", "--train_steps=130", *flags])


def sa_siam_tracking(folder: str, clock: Clock) -> None:
    """A tracked frame of SA-Siam, both branches, 320 x 240 pixels, in memory."""
    import numpy as np

    from benchmarks import measuring
    from common.devices import selection
    from common.graph.compat import tf
    from sa_siam_tf1.configuration import ModelConfig, TrackConfig
    from sa_siam_tf1.inference import inference_wrapper
    from sa_siam_tf1.inference.tracker import Tracker

    inputs = []  # scalars that depend on what is fed

    def windows(num: int, side: int) -> inference_wrapper.Windows:
        frame = tf.placeholder(tf.uint8, [None, None, 3], "frame")
        mean_colour, boxes = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.float32, [num, 4])
        inputs.append(tf.cast(frame[0, 0, 0], tf.float32) + mean_colour[0] + boxes[0, 0])
        return inference_wrapper.Windows(frame, mean_colour, boxes, tf.zeros([num, side, side, 3]))

    def upsampled(response: tf.Tensor, track: TrackConfig) -> tf.Tensor:
        side = int(response.shape[1]) * track.upsample_factor
        with tf.control_dependencies([response[0, 0, 0] + inputs[-1]]):
            return tf.identity(np.random.RandomState(0).rand(track.num_scales, side, side).astype(np.float32))

    def peak(responses: tf.Tensor, track: TrackConfig) -> inference_wrapper.Peak:
        del track
        total = responses[0, 0, 0]
        return inference_wrapper.Peak(responses[:, 0, 0], tf.constant(1), responses[1], tf.constant(37000), total)

    del folder
    config = measuring.session_config(selection.choose(clock.device, os.environ))
    _replace_embeddings()
    inference_wrapper.find_peak = peak
    inference_wrapper._windows = windows  # type: ignore[assignment]
    inference_wrapper._upsampled = upsampled  # type: ignore[assignment]
    frame = np.random.RandomState(0).randint(0, 256, (240, 320, 3)).astype(np.uint8)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        wrapper = inference_wrapper.InferenceWrapper(ModelConfig(branch="both"), TrackConfig())
        session.run(tf.global_variables_initializer())
        tracker = Tracker(session, wrapper, frame, (120, 90, 60, 50))
        for _ in range(530):
            tracker.track(frame)
            clock.mark()


def siamese_omniglot(folder: str, clock: Clock, recipe: str) -> None:
    """A training step of the Omniglot network, 64 pairs; where the device makes the images, it makes none here."""
    import numpy as np

    from common.keras.session import tf
    from common.tiny_data import omniglot as files
    from siamese_omniglot import device_drawings
    from siamese_omniglot.data.omniglot import SIDE
    from siamese_omniglot.nets import siamese
    from siamese_omniglot.run_scripts import run_siamese_train

    middle = SIDE // 2
    siamese.SIDE, siamese._conv4 = 1, lambda images: images
    siamese.Siamese.to_input = lambda self, drawings: tf.cast(drawings[:, middle:middle + 1, middle:middle + 1, None],
                                                              tf.float32)

    def images(self: Any, drawings: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([drawings, changes]):
            return tf.identity(np.zeros((4 * 32, SIDE, SIDE), np.uint8))

    device_drawings.DeviceDrawings.images = images
    files.make(folder, 5, 8, 20)
    train(clock, run_siamese_train.main, folder, [f"--data_path={folder}", "--backbone=conv4", "--split=image",
                                                  "--train_steps=330", f"--recipe={recipe}"])


def omniglot_batches(folder: str, clock: Clock, num_processes: int) -> None:
    """A batch of the reference recipe, 128 images, made by processes as fast as they can; their CPU time counts."""
    import numpy as np

    from common.tiny_data import omniglot as files
    from siamese_omniglot.data import omniglot
    from siamese_omniglot.data.batches import Batches, ProcessesAhead

    files.make(folder, 5, 8, 20)
    data = omniglot.load(os.path.join(folder, "images_background"))
    sampler = omniglot.samplers(data, omniglot.split(data, "image"), 0, False)["train"]
    batches = Batches(data.store, sampler, 32, 0, "imagenet", "batch", np.arange(64))
    num_batches = 330
    ahead = ProcessesAhead(batches, num_processes, num_batches)
    clock.helpers = [process.pid for process in ahead._processes]
    for step in range(num_batches):
        ahead.get(step)
        clock.mark()
    ahead.close()


def siamese_triplet(folder: str, clock: Clock, *flags: str) -> None:
    """A training step of the triplet network, batch 32, on kept features of the real size, 0.4 MB an image."""
    from common.tiny_data import look_alikes
    from siamese_triplet_tf2 import model, siamese_network

    def base() -> Any:
        images = model.layers.Input((model.SIDE, model.SIDE, 3))
        hidden = model.layers.Cropping2D(((96, 97), (96, 97)))(images)
        hidden = model.layers.Conv2D(model.FEATURE_SHAPES["resnet50"][-1], 1, name=model.LAST_FROZEN)(hidden)
        return model.tf.keras.Model(images, hidden)

    model._resnet50 = base
    model._head_layers = lambda: [model.layers.Cropping2D(3), model.layers.Flatten(),
                                  model.layers.Dense(model.EMBEDDING_DIM, name="dense")]
    look_alikes.make(folder, num_pairs=200)
    train(clock, siamese_network.main, folder, [f"--data_path={folder}", "--weights=none",
                                                 "--train_steps=430", *flags])


def _replace_embeddings() -> None:
    """Let the embeddings of SA-Siam read a pixel of each image, and the response be its sum everywhere."""
    from common.graph.compat import tf
    from sa_siam_tf1.embeddings import sa_siam

    sums = []

    def maps(images: tf.Tensor, name: str, channels: int, is_exemplar: bool, wider: int = 0) -> tf.Tensor:
        with tf.variable_scope(name):
            sums.append(tf.matmul(images[:, 100, 100], tf.get_variable("weights", [3, 1])))
        cells = sa_siam.EXEMPLAR_CELLS + wider + (0 if is_exemplar else (int(images.shape[1]) - 127) // 8)
        return tf.zeros([int(images.shape[0]), cells, cells, channels])

    def appearance(images, normaliser, is_exemplar, dtype=None):
        del normaliser, dtype
        return (maps(images, "sa_siam/appearance_net/conv1", 256, is_exemplar),)

    def semantic(images, is_exemplar, dtype=None):
        del dtype
        return (maps(images, "sa_siam/semantic_net/conv1", 128, is_exemplar, 2),
                maps(images, "sa_siam/semantic_net/conv2", 128, is_exemplar))

    def correlate(exemplar, instance):
        side = int(instance[0].shape[1]) - int(exemplar[0].shape[1]) + 1
        return tf.tile((sums[-1] + exemplar[0][0, 0, 0, 0])[:, None], [1, side, side])

    sa_siam.appearance, sa_siam.semantic, sa_siam.correlate = appearance, semantic, correlate


# case, with the steps to warm up and those of a block
CASES: dict[str, tuple[Case, int, int]] = {
    "gitloss, steps_per_loop 20": (lambda *a: gitloss(*a, "--steps_per_loop=20"), 100, 100),
    "gitloss": (gitloss, 100, 100),
    "circleloss": (circleloss, 30, 20),
    "sa_siam training": (lambda *a: sa_siam_training(*a, "--cache_crops=off"), 30, 10),
    "sa_siam training, cache": (lambda *a: sa_siam_training(*a, "--cache_crops=memory"), 60, 10),
    "sa_siam training, cache, images": (lambda *a: sa_siam_training(
        *a, "--cache_crops=memory", makes_images=True), 60, 10),
    "sa_siam tracking": (sa_siam_tracking, 30, 50),
    "triplet, features on the host": (lambda *given: siamese_triplet(*given, "--cache_features=disk"), 30, 40),
    "triplet": (lambda *given: siamese_triplet(*given, "--cache_features=memory"), 30, 40),
    "triplet, steps_per_loop 20": (lambda *given: siamese_triplet(
        *given, "--cache_features=memory", "--static_shape", "--steps_per_loop=20"), 40, 40),
    "omniglot reference": (lambda folder, clock: siamese_omniglot(folder, clock, "reference"), 30, 50),
    "omniglot corrected": (lambda folder, clock: siamese_omniglot(folder, clock, "corrected"), 30, 50),
    "omniglot batches, 1 process": (lambda *given: omniglot_batches(*given, 1), 30, 50),
    "omniglot batches, 2 processes": (lambda *given: omniglot_batches(*given, 2), 30, 50),
}


def measure(name: str, device: str) -> dict[str, Any]:
    """Measure a case in this process; return a row of the table."""
    case, warm_up, block = CASES[name]
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        case(folder, clock)
    wall, cpu = clock.per_step(warm_up, block)
    import tensorflow as tf

    return dict(case=name, tensorflow=tf.__version__, wall_ms=1e3 * wall, cpu_ms=1e3 * cpu,
                load=os.getloadavg()[0])


def main(arguments: list[str]) -> int:
    """Measure and print the table."""
    from benchmarks import measuring
    from common.cli import program

    def body(stop: program.StopRequest) -> int:
        del stop
        names = [argument.partition("=")[2] for argument in arguments if argument.startswith("--case=")]
        parsed = measuring.parse(argument for argument in arguments if not argument.startswith("--case="))
        if parsed.part:
            print(json.dumps(measure(parsed.part, parsed.device)))
            return 0
        rows = [measuring.run_part(__file__, name, python, parsed.device)
                for python in parsed.pythons for name in names or CASES]
        print("\n".join(measuring.table(COLUMNS, rows)))
        return 0

    return program.run(body)


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.exit(main(sys.argv[1:]))
