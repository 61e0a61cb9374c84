"""Measure SA-Siam: python3 benchmarks/sa_siam.py [PYTHON...], one row of the table for each interpreter.

A row is measured in one process. In it a training step of each branch, a tracked frame, the two embeddings of such a
frame alone, the convolutions of all three as plain ops, and a matrix multiplication of TensorFlow take turns, so that
their ratios hold on a noisy machine. Numbers are medians; the first round is a warm-up. Training reads and augments
drawn crops; the frame is 320 x 240, in memory. The weights are random, which does not change the speed.
"""
from __future__ import annotations

import os
import sys
import tempfile

BATCH_SIZE = 8
ROUNDS = 7
BRANCHES = ("appearance", "semantic")
FRAME_SIZE = (240, 320)
MATRIX_SIDE = 2048
COLUMNS = (
    ("TensorFlow", "tensorflow", "{}"),
    ("appearance, examples/s", "appearance", "{:.1f}"), ("CPU s a step", "appearance_cpu", "{:.2f}"),
    ("of the bare convolutions", "appearance_of_bare", "{:.0%}"), ("in CPU s", "appearance_of_bare_cpu", "{:.0%}"),
    ("semantic, examples/s", "semantic", "{:.1f}"), ("CPU s a step", "semantic_cpu", "{:.2f}"),
    ("of the bare convolutions", "semantic_of_bare", "{:.0%}"), ("in CPU s", "semantic_of_bare_cpu", "{:.0%}"),
    ("tracking, frames/s", "frames", "{:.1f}"), ("CPU s a frame", "frame_cpu", "{:.3f}"),
    ("of the bare convolutions", "frame_of_bare", "{:.0%}"), ("in CPU s", "frame_of_bare_cpu", "{:.0%}"),
    ("outside of the embeddings", "outside", "{:.1%}"), ("of its CPU s", "outside_cpu", "{:.1%}"),
    ("GFLOP/s, bare convolutions", "bare_gflops", "{:.0f}"), ("matmul GFLOP/s", "matmul", "{:.0f}"),
    ("peak MB", "peak_mb", "{:.0f}"),
)


def _training_step(branch: str, tracks: list, settings) -> tuple:
    """Return a function that makes a training step with its batch, and one that closes everything."""
    from common.graph.compat import tf
    from sa_siam_tf1 import siamese_model
    from sa_siam_tf1.configuration import ModelConfig, TrainConfig
    from sa_siam_tf1.datasets.crop_batches import CropBatches
    from sa_siam_tf1.device_images import DeviceImages

    with tf.Graph().as_default():
        train = TrainConfig(batch_size=BATCH_SIZE)
        images = DeviceImages(BATCH_SIZE, siamese_model.TRAIN_SIDE, 0, False)
        graph = siamese_model.build_training(ModelConfig(branch=branch), train,
                                             images=(images.exemplars, images.instances))
        initialise = tf.global_variables_initializer()
        session = tf.Session(config=settings)
    session.run(initialise)
    batches = CropBatches(tracks, train, siamese_model.TRAIN_SIDE, False)
    counter = iter(range(10 ** 9))

    def step() -> None:
        feeds = images.feeds(batches.batch(next(counter)))
        session.run([graph.train_op, graph.total_loss], {**feeds, graph.learning_rate: 1e-4})

    def close() -> None:
        batches.close()
        session.close()

    return step, close


def measure() -> dict:
    """Measure in this process."""
    import numpy as np

    from benchmarks import bare_sa_siam as bare
    from benchmarks import measuring
    from common.devices import selection
    from common.devices.npu_options import NpuOptions
    from common.graph import npu
    from common.graph.compat import enable, tf
    from common.tiny_data import tracking
    from sa_siam_tf1 import siamese_model
    from sa_siam_tf1.configuration import ModelConfig, TrackConfig
    from sa_siam_tf1.datasets import imdb
    from sa_siam_tf1.inference.inference_wrapper import InferenceWrapper
    from sa_siam_tf1.inference.tracker import Tracker
    from sa_siam_tf1.scripts import preprocess_VID_data

    enable()
    settings = npu.session_config(selection.Device("cpu", "0"), NpuOptions(""), selection.num_cpus())
    frame = np.random.RandomState(0).randint(0, 256, (*FRAME_SIZE, 3)).astype(np.uint8)
    opened = []
    with tempfile.TemporaryDirectory() as folder:
        tracking.make(folder, num_videos=8, num_frames=6, num_sequences=0)
        raw, curated = os.path.join(folder, "ILSVRC2015"), os.path.join(folder, "curated")
        preprocess_VID_data.main([f"--data_path={raw}", f"--save_path={curated}"])
        tracks = imdb.load(curated).train

        functions = []
        for branch in BRANCHES:
            step, close = _training_step(branch, tracks, settings)
            functions.append(step)
            opened.append(close)
        with tf.Graph().as_default():
            track = TrackConfig()
            wrapper = InferenceWrapper(ModelConfig(branch="both"), track)
            images = tf.get_variable("images", [track.num_scales, track.x_image_size, track.x_image_size, 3])
            with tf.variable_scope(tf.get_variable_scope(), reuse=True):
                embeddings = [features.op for features in wrapper.instance_features(images)]
            matrix = tf.get_variable("matrix", [MATRIX_SIDE, MATRIX_SIDE])
            product = tf.matmul(matrix, matrix).op
            plain = [bare.training_step(branch, BATCH_SIZE, siamese_model.TRAIN_SIDE) for branch in BRANCHES]
            plain.append(bare.frame(track.num_scales, track.x_image_size))
            initialise = tf.global_variables_initializer()
            session = tf.Session(config=settings)
        session.run(initialise)
        opened.append(session.close)
        tracker = Tracker(session, wrapper, frame, (120, 90, 60, 50))
        functions += [lambda: tracker.track(frame), lambda: session.run(embeddings), lambda: session.run(product)]
        functions += [lambda ops=ops: session.run(ops) for ops in plain]
        times = measuring.take_turns(functions, ROUNDS)
        for close in opened:
            close()
    appearance, semantic, tracked, embedded, (product_seconds, _), *bare_times = times
    row = dict(
        tensorflow=tf.__version__, appearance=BATCH_SIZE / appearance[0], appearance_cpu=appearance[1],
        semantic=BATCH_SIZE / semantic[0], semantic_cpu=semantic[1], frames=1.0 / tracked[0], frame_cpu=tracked[1],
        outside=1.0 - embedded[0] / tracked[0], outside_cpu=1.0 - embedded[1] / tracked[1],
        bare_gflops=track.num_scales * bare.embedding_flops(track.x_image_size) / bare_times[-1][0] / 1e9,
        matmul=2e-9 * MATRIX_SIDE ** 3 / product_seconds, peak_mb=measuring.peak_mb())
    for name, measured, limit in zip((*BRANCHES, "frame"), (appearance, semantic, tracked), bare_times):
        row.update({f"{name}_of_bare": limit[0] / measured[0], f"{name}_of_bare_cpu": limit[1] / measured[1]})
    return row


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks import measuring

    sys.exit(measuring.main(__file__, COLUMNS, measure, sys.argv[1:]))
