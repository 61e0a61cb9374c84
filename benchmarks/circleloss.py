"""Measure Circle loss: python3 benchmarks/circleloss.py [--device=gpu] [PYTHON...].

A row of a table is for an interpreter. Every row comes from one process in which the things that are compared take
turns, so that their ratios hold on a noisy machine. Medians; the first round warms up. 200,000 files to list are made
in the temporary folder and removed.
"""
from __future__ import annotations

import os
import sys
import tempfile
import time

BATCH_SIZE, NUM_CLASSES = 30, 30
ROUNDS = 3
MATRIX_SIDE = 2048
LOSS_BATCH, LOSS_CLASSES = 128, 85742
PAIRS, DIMENSIONS = 6000, 512
NUM_FILES, FILES_A_PERSON = 200000, 50
TRAINING = "Training, batch 30"
TABLES = {
    TRAINING: (
        ("TensorFlow", "tensorflow", "{}"), ("images/s", "images_per_second", "{:.1f}"),
        ("CPU s a step", "cpu_seconds", "{:.2f}"), ("bare convolutions, CPU s", "bare_cpu_seconds", "{:.2f}"),
        ("of the bare convolutions", "of_bare", "{:.0%}"), ("GFLOP/s", "gflops", "{:.0f}"),
        ("matmul GFLOP/s", "matmul", "{:.0f}"), ("first step s", "first", "{:.1f}"),
        ("input, ms a batch", "input_ms", "{:.1f}"),
        ("peak MB", "peak_mb", "{:.0f}")),
    "The rest": (
        ("TensorFlow", "tensorflow", "{}"), ("loss, ms", "loss_ms", "{:.0f}"),
        ("with a one-hot matrix, ms", "one_hot_ms", "{:.0f}"), ("loss, MB", "loss_mb", "{:.0f}"),
        ("with a one-hot matrix, MB", "one_hot_mb", "{:.0f}"), ("LFW protocol, ms", "protocol_ms", "{:.1f}"),
        ("listing, s", "listing_seconds", "{:.2f}"), ("listing, MB", "listing_mb", "{:.0f}")),
}


def measure_training(device) -> dict:
    """A step, the bare convolutions and a matrix product in turns; the input pipeline alone."""
    import numpy as np
    from PIL import Image

    from benchmarks import bare_circleloss, measuring
    from circleloss_tf1 import facenet, model
    from circleloss_tf1.face_images import ImageFeed
    from circleloss_tf1.recipe import RECIPES, Extras, NetworkSettings
    from common.graph.compat import tf

    network = NetworkSettings("models.resnet34", RECIPES["reference"], Extras())
    random = np.random.RandomState(0)
    config = measuring.session_config(device)
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default(), tf.Session(config=config) as session:
        paths = []
        for number in range(BATCH_SIZE):
            paths.append(os.path.join(folder, f"{number}.jpg").encode())
            small = Image.fromarray(random.randint(0, 256, (14, 14, 3)).astype(np.uint8))
            small.resize((112, 112), 3).save(paths[-1].decode(), quality=90)
        train = model.build_training(model.TrainSettings(
            BATCH_SIZE, NUM_CLASSES, network, model.LossSettings(), facenet.StepSettings("ADAM", 1000, 0.1, 0.9999), 0))
        feed = ImageFeed(BATCH_SIZE, network)
        bare = bare_circleloss.training_step(BATCH_SIZE)
        matrix = tf.get_variable("matrix", [MATRIX_SIDE, MATRIX_SIDE])
        product = tf.matmul(matrix, matrix).op
        session.run(tf.global_variables_initializer())
        fetches = [train.train_op, train.losses, train.accuracy, train.step.learning_rate]
        feed.start(session, paths * (ROUNDS + 1))
        labels = random.randint(0, NUM_CLASSES, BATCH_SIZE)

        def step() -> None:
            session.run(fetches, {train.images: feed.next(session), train.labels: labels, train.rate: 0.1})

        found = measuring.take_turns([step, lambda: session.run(bare), lambda: session.run(product)], ROUNDS)
        feed.start(session, paths * 30)
        feed.next(session)
        started = time.perf_counter()
        for _ in range(29):
            feed.next(session)
        input_ms = 1e3 * (time.perf_counter() - started) / 29
    step_timed, bare_timed, product_timed = found
    seconds = step_timed.wall
    return dict(tensorflow=tf.__version__, images_per_second=BATCH_SIZE / seconds, cpu_seconds=step_timed.cpu,
                bare_cpu_seconds=bare_timed.cpu, of_bare=bare_timed.wall / seconds, first=step_timed.first,
                gflops=bare_circleloss.step_flops(BATCH_SIZE) / seconds / 1e9,
                matmul=2.0 * MATRIX_SIDE ** 3 / product_timed.wall / 1e9, input_ms=input_ms,
                peak_mb=measuring.peak_mb(),
                legs={"circleloss": measuring.leg(step_timed, bare_timed)})


def measure_loss_sparse(device) -> dict:
    """Loss and gradient at 85,742 classes and a batch of 128."""
    from circleloss_tf1 import circle_loss

    milliseconds, megabytes = _measure_loss(circle_loss.circle_loss, device)
    return dict(loss_ms=milliseconds, loss_mb=megabytes)


def measure_loss_one_hot(device) -> dict:
    """The same as the equations are often written: both logits everywhere, chosen by a one-hot matrix."""
    from circleloss_tf1 import circle_loss
    from common.graph.compat import tf

    def one_hot_loss(similarities: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        own = tf.one_hot(labels, LOSS_CLASSES)
        positive = circle_loss.positive_logits(similarities, 256.0, 0.25)
        negative = circle_loss.negative_logits(similarities, 256.0, 0.25)
        logits = own * positive + (1.0 - own) * negative
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=own, logits=logits))

    milliseconds, megabytes = _measure_loss(one_hot_loss, device)
    return dict(one_hot_ms=milliseconds, one_hot_mb=megabytes)


def _measure_loss(loss, device) -> tuple[float, float]:
    """Milliseconds of loss and gradient, and megabytes that the process grows by."""
    import numpy as np

    from benchmarks import measuring
    from common.graph.compat import tf

    config = measuring.session_config(device)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        rows = tf.get_variable("rows", [LOSS_BATCH, LOSS_CLASSES], initializer=tf.random_uniform_initializer(-0.3, 0.3))
        labels = tf.constant(np.random.RandomState(0).randint(0, LOSS_CLASSES, LOSS_BATCH), tf.int32)
        value = loss(tf.identity(rows), labels)
        gradient = tf.gradients(value, rows)[0].op
        session.run(tf.global_variables_initializer())
        before, times = measuring.peak_mb(), []
        for _ in range(6):
            started = time.perf_counter()
            session.run([value, gradient])
            times.append(time.perf_counter() - started)
    return 1e3 * sorted(times[1:])[2], measuring.peak_mb() - before


def measure_protocol(device) -> dict:
    """The LFW protocol on 6,000 pairs of 512 dimensions, squared Euclidean distance."""
    import numpy as np

    from circleloss_tf1 import lfw

    embeddings = np.random.RandomState(0).randn(2 * PAIRS, DIMENSIONS)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    is_same = np.tile(np.repeat([True, False], 300), PAIRS // 600)
    times = []
    for _ in range(15):
        started = time.perf_counter()
        lfw.verify(embeddings, is_same)
        times.append(time.perf_counter() - started)
    return dict(protocol_ms=1e3 * sorted(times)[7])


def measure_listing(device) -> dict:
    """Listing a folder of 200,000 files, 50 a person."""
    from benchmarks import measuring
    from circleloss_tf1 import faces

    with tempfile.TemporaryDirectory() as folder:
        for person in range(NUM_FILES // FILES_A_PERSON):
            os.mkdir(os.path.join(folder, f"m.{person:06d}"))
            for number in range(FILES_A_PERSON):
                os.close(os.open(os.path.join(folder, f"m.{person:06d}", f"{number:04d}.jpg"), os.O_CREAT))
        before, started = measuring.peak_mb(), time.perf_counter()
        found = faces.scan(folder)
        seconds = time.perf_counter() - started
        assert len(found) == NUM_FILES
    return dict(listing_seconds=seconds, listing_mb=measuring.peak_mb() - before)


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks import measuring

    sys.exit(measuring.main(__file__, TABLES, [measure_training, measure_loss_sparse, measure_loss_one_hot,
                                               measure_protocol, measure_listing], sys.argv[1:]))
