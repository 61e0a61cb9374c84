"""Measure Git loss: python3 benchmarks/gitloss.py [--device=gpu] [PYTHON...].

A row of a table is for an interpreter. Every row comes from one process in which the zoo's training step, the bare
convolutions and TensorFlow's own matrix multiplication take turns, so that their ratios hold on a noisy machine.
Medians; the first round warms up.
"""
from __future__ import annotations

import os
import sys
import time

BATCH_SIZE = 128
ROUNDS, STEPS_A_ROUND = 8, 6
MATRIX_SIDE = 2048
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 55000, 5000, 10000
COLUMNS = (
    ("TensorFlow", "tensorflow", "{}"), ("steps/s", "steps_per_second", "{:.2f}"),
    ("CPU s a step", "cpu_seconds_a_step", "{:.3f}"), ("of the bare convolutions", "of_bare", "{:.0%}"),
    ("GFLOP/s", "gflops", "{:.0f}"), ("matmul GFLOP/s", "matmul", "{:.0f}"),
    ("of the matmul rate", "of_matmul", "{:.0%}"),
    ("first step s", "first", "{:.1f}"),
    ("evaluation s", "evaluation_seconds", "{:.1f}"), ("statistics ms", "statistics_ms", "{:.1f}"),
    ("peak MB", "peak_mb", "{:.0f}"), ("of it the import", "import_mb", "{:.0f}"),
)


def measure(device) -> dict:
    """Measure in this process."""
    import numpy as np

    from benchmarks import bare_gitloss, measuring
    from common.graph.compat import tf
    from gitloss_tf1 import evaluation, mnist, model
    from gitloss_tf1.evaluation import class_statistics
    from gitloss_tf1.recipe import LossSettings

    config = measuring.session_config(device)
    import_mb = measuring.peak_mb()
    random = np.random.RandomState(0)
    splits = [mnist.Split(random.randint(0, 256, (num, 28, 28, 1), np.uint8), random.randint(0, 10, num))
              for num in (NUM_TRAIN, NUM_VALIDATION, NUM_TEST)]
    data = mnist.Mnist(*splits, np.full((28, 28, 1), 0.5, np.float32), [], [])
    batches = mnist.Batches(NUM_TRAIN, BATCH_SIZE, seed=0)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        train = model.build_training(LossSettings(BATCH_SIZE), seed=0)
        graph = model.build_forward(evaluation.BATCH_SIZE)
        bare = bare_gitloss.training_step(BATCH_SIZE)
        matrix = tf.get_variable("matrix", [MATRIX_SIDE, MATRIX_SIDE])
        product = tf.matmul(matrix, matrix).op
        session.run(tf.global_variables_initializer())
        fetches = [train.train_op, train.loss, train.accuracy, train.center_distances]
        counter = iter(range(10 ** 9))

        def step() -> None:
            indices = batches.indices(next(counter))
            session.run(fetches, {train.images: mnist.preprocess(data.train.images[indices], data.mean_image),
                                  train.labels: data.train.labels[indices]})

        times = measuring.take_turns(
            [step, lambda: session.run(bare), lambda: session.run(product)], ROUNDS, STEPS_A_ROUND)
        found = evaluation.evaluate(session, graph, data, LossSettings(BATCH_SIZE), with_splits=True)
    durations = []
    for _ in range(20):
        started = time.perf_counter()
        class_statistics(found.train_features, data.train.labels, BATCH_SIZE, "batch_means")
        durations.append(time.perf_counter() - started)
    timed, bare_timed, product_timed = times
    seconds = timed.wall
    flops, matmul = bare_gitloss.step_flops(BATCH_SIZE), 2.0 * MATRIX_SIDE ** 3 / product_timed.wall
    return dict(tensorflow=tf.__version__, steps_per_second=1.0 / seconds, cpu_seconds_a_step=timed.cpu,
                of_bare=bare_timed.wall / seconds, gflops=flops / seconds / 1e9, matmul=matmul / 1e9,
                of_matmul=flops / seconds / matmul, evaluation_seconds=found.seconds,
                statistics_ms=1e3 * float(np.median(durations)), peak_mb=measuring.peak_mb(), import_mb=import_mb,
                first=timed.first, legs={"gitloss": measuring.leg(timed, bare_timed)})


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks import measuring

    sys.exit(measuring.main(__file__, {"": COLUMNS}, [measure], sys.argv[1:]))
