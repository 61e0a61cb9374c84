"""Measure Git loss: python3 benchmarks/gitloss.py [PYTHON...], one row of the table for each interpreter.

Every row comes from one process in which the zoo's training step, the bare convolutions and TensorFlow's own matrix
multiplication take turns, so that their ratios hold on a noisy machine. Medians; the first round warms up.
"""
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BATCH_SIZE = 128
ROUNDS, STEPS_A_ROUND = 8, 6
MATRIX_SIDE = 2048
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 55000, 5000, 10000
COLUMNS = (
    ("TensorFlow", "tensorflow", "{}"), ("steps/s", "steps_per_second", "{:.2f}"),
    ("CPU s a step", "cpu_seconds_a_step", "{:.3f}"), ("of the bare convolutions", "of_bare", "{:.0%}"),
    ("GFLOP/s", "gflops", "{:.0f}"), ("matmul GFLOP/s", "matmul", "{:.0f}"),
    ("of the matmul rate", "of_matmul", "{:.0%}"),
    ("evaluation s", "evaluation_seconds", "{:.1f}"), ("statistics ms", "statistics_ms", "{:.1f}"),
    ("peak MB", "peak_mb", "{:.0f}"), ("of it the import", "import_mb", "{:.0f}"),
)


def main(arguments: list[str]) -> int:
    """Measure with each interpreter and print the table."""
    if arguments == ["--measure"]:
        print(json.dumps(measure()))
        return 0
    rows = []
    for python in arguments or [sys.executable]:
        environment = dict(os.environ, PYTHONPATH=ROOT, TF_CPP_MIN_LOG_LEVEL="2", CUDA_VISIBLE_DEVICES="-1")
        result = subprocess.run([python, os.path.abspath(__file__), "--measure"], env=environment, check=True,
                                stdout=subprocess.PIPE)
        rows.append(json.loads(result.stdout))
    print("| " + " | ".join(title for title, _, _ in COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(form.format(row[key]) for _, key, form in COLUMNS) + " |")
    return 0


def measure() -> dict:
    """Measure in this process."""
    import numpy as np

    from benchmarks import bare_gitloss
    from common import device, npu_tf1
    from common.npu_options import NpuOptions
    from common.tf1 import enable, tf
    from gitloss_tf1 import evaluation, mnist, model
    from gitloss_tf1.class_statistics import class_statistics

    enable()
    import_mb = _peak_mb()
    random = np.random.RandomState(0)
    splits = [mnist.Split(random.randint(0, 256, (num, 28, 28, 1), np.uint8), random.randint(0, 10, num))
              for num in (NUM_TRAIN, NUM_VALIDATION, NUM_TEST)]
    data = mnist.Mnist(*splits, np.full((28, 28, 1), 0.5, np.float32), [], [])
    batches = mnist.Batches(NUM_TRAIN, BATCH_SIZE, seed=0)
    config = npu_tf1.session_config(device.Device("cpu", "0"), NpuOptions(""), device.num_cpus())
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        train = model.build_training(BATCH_SIZE, 1.0, 1.0, model.REFERENCE, seed=0)
        graph = model.build_forward(evaluation.BATCH_SIZE, 0, reuse=True)
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

        times = _take_turns([step, lambda: session.run(bare), lambda: session.run(product)])
        settings = evaluation.LossSettings(BATCH_SIZE, 1.0, 1.0, model.REFERENCE)
        found = evaluation.evaluate(session, graph, data, np.zeros((10, 2), np.float32), settings, (), True)
    durations = []
    for _ in range(20):
        started = time.perf_counter()
        class_statistics(found.train_features, data.train.labels, BATCH_SIZE, "batch_means")
        durations.append(time.perf_counter() - started)
    (seconds, cpu_seconds), (bare_seconds, _), (product_seconds, _) = times
    flops, matmul = bare_gitloss.step_flops(BATCH_SIZE), 2.0 * MATRIX_SIDE ** 3 / product_seconds
    return dict(tensorflow=tf.__version__, steps_per_second=1.0 / seconds, cpu_seconds_a_step=cpu_seconds,
                of_bare=bare_seconds / seconds, gflops=flops / seconds / 1e9, matmul=matmul / 1e9,
                of_matmul=flops / seconds / matmul, evaluation_seconds=found.seconds,
                statistics_ms=1e3 * float(np.median(durations)), peak_mb=_peak_mb(), import_mb=import_mb)


def _take_turns(functions: list) -> list[tuple[float, float]]:
    """Median wall and CPU seconds of one call of each function, over rounds in which they take turns."""
    rounds: list = [[] for _ in functions]
    for number in range(ROUNDS + 1):
        for function, measured in zip(functions, rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(STEPS_A_ROUND):
                function()
            if number:
                measured.append(((time.perf_counter() - wall) / STEPS_A_ROUND,
                                 (time.process_time() - cpu) / STEPS_A_ROUND))
    medians = []
    for measured in rounds:
        walls, cpus = (sorted(values) for values in zip(*measured))
        medians.append((walls[len(walls) // 2], cpus[len(cpus) // 2]))
    return medians


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
