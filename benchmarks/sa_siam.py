"""Measure SA-Siam: python3 benchmarks/sa_siam.py [--device=gpu] [PYTHON...].

A row, that of an interpreter, is measured in one process. In it a training step of each branch, a
tracked frame, the two embeddings of such a frame alone, the convolutions of all three as plain ops, and a matrix
multiplication of TensorFlow take turns, so that their ratios hold on a noisy machine. Numbers are medians; the first
round is a warm-up. Training reads and augments drawn crops; the frame is 320 x 240, in memory. The weights are random,
which does not change the speed.
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
    ("first step s", "first", "{:.1f}"),
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
    from sa_siam_tf1.datasets import dataloader

    with tf.Graph().as_default():
        train = TrainConfig(batch_size=BATCH_SIZE)
        images = siamese_model.DeviceImages(BATCH_SIZE, 0, False)
        graph = siamese_model.build_training(ModelConfig(branch=branch), train,
                                             images=(images.exemplars, images.instances))
        initialise = tf.global_variables_initializer()
        session = tf.Session(config=settings)
    session.run(initialise)
    batches = dataloader.crop_batches(tracks, train, 0, False)

    def step() -> None:
        feeds = images.feeds(next(batches))
        session.run([graph.train_op, graph.total_loss], {**feeds, graph.learning_rate: 1e-4})

    def close() -> None:
        batches.close()
        session.close()

    return step, close


def measure(device) -> dict:
    """Measure in this process."""
    import numpy as np

    from benchmarks import bare_sa_siam as bare
    from benchmarks import measuring
    from common.graph.compat import tf
    from common.tiny_data import tracking
    from sa_siam_tf1 import siamese_model
    from sa_siam_tf1.configuration import ModelConfig, TrackConfig
    from sa_siam_tf1.datasets import imdb
    from sa_siam_tf1.inference.inference_wrapper import InferenceWrapper, embed
    from sa_siam_tf1.inference.tracker import Tracker
    from sa_siam_tf1.scripts import preprocess_VID_data

    settings = measuring.session_config(device)
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
            model = ModelConfig(branch="both")
            wrapper = InferenceWrapper(model, track)
            images = tf.get_variable("images", [track.num_scales, track.x_image_size, track.x_image_size, 3])
            with tf.variable_scope(tf.get_variable_scope(), reuse=True):
                embeddings = [features.op for features in embed(model, images, False)]
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
    appearance, semantic, tracked, embedded, product_timed, *bare_times = times
    row = dict(
        tensorflow=tf.__version__, appearance=BATCH_SIZE / appearance.wall, appearance_cpu=appearance.cpu,
        semantic=BATCH_SIZE / semantic.wall, semantic_cpu=semantic.cpu, frames=1.0 / tracked.wall,
        frame_cpu=tracked.cpu,
        outside=1.0 - embedded.wall / tracked.wall, outside_cpu=1.0 - embedded.cpu / tracked.cpu,
        bare_gflops=track.num_scales * bare.embedding_flops(track.x_image_size) / bare_times[-1].wall / 1e9,
        matmul=2e-9 * MATRIX_SIDE ** 3 / product_timed.wall, peak_mb=measuring.peak_mb(), first=semantic.first, legs={})
    for name, measured, limit in zip((*BRANCHES, "frame"), (appearance, semantic, tracked), bare_times):
        row.update({f"{name}_of_bare": limit.wall / measured.wall, f"{name}_of_bare_cpu": limit.cpu / measured.cpu})
        row["legs"][f"sa_siam {name}"] = measuring.leg(measured, limit)
    return row


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks import measuring

    sys.exit(measuring.main(__file__, {"": COLUMNS}, [measure], sys.argv[1:]))
