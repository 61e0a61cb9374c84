"""Measure the Siamese network: python3 benchmarks/siamese_omniglot.py [--device=gpu] [PYTHON...].

A row of a table is for an interpreter. Every row comes from one process in which the zoo's training step, the making of
a batch, the bare convolutions and TensorFlow's own matrix multiplication take turns, so that their ratios hold on a
noisy machine. Medians; the first round warms up, and the first step, with all that is compiled in it, is measured
apart. The characters are made up, as thin strokes on white paper like those of Omniglot.

BACKBONE=conv4 or vgg16 measures that network; a step of VGG16 takes 20 CPU seconds. AUGMENT=imagenet, of the reference
recipe, makes the images in processes, whose CPU time counts as that of a step; AUGMENT=affine, of the corrected recipe,
on the device.
"""
from __future__ import annotations

import os
import sys
import time

BATCH_SIZE = 32
PAIRS, IMAGES = 2 * BATCH_SIZE, 4 * BATCH_SIZE
MATRIX_SIDE = 2048
ROUNDS = {"conv4": (6, 4), "vgg16": (2, 1)}  # rounds, steps a round
COLUMNS = (
    ("TensorFlow", "tensorflow", "{}"), ("network", "backbone", "{}"), ("augment", "augment", "{}"),
    ("pairs/s", "pairs_per_second", "{:.1f}"), ("CPU s a step", "cpu_seconds_a_step", "{:.2f}"),
    ("bare, pairs/s", "bare_pairs_per_second", "{:.1f}"), ("of the bare convolutions", "of_bare", "{:.0%}"),
    ("of them in CPU s", "of_bare_cpu", "{:.0%}"), ("batch, CPU ms", "batch_ms", "{:.1f}"),
    ("wait for it", "wait", "{:.1%}"), ("first step s", "first", "{:.1f}"), ("GFLOP/s", "gflops", "{:.0f}"),
    ("matmul GFLOP/s", "matmul", "{:.0f}"), ("of the matmul rate", "of_matmul", "{:.0%}"),
    ("peak MB", "peak_mb", "{:.0f}"),
)


def measure(device) -> dict:
    """Measure in this process."""
    import numpy as np

    from benchmarks import bare_siamese_omniglot as bare
    from benchmarks import measuring
    from common.devices.selection import Rank
    from common.keras import workers
    from common.keras.session import tf
    from common.tiny_data import omniglot as tiny
    from siamese_omniglot import update
    from siamese_omniglot.data import omniglot
    from siamese_omniglot.data.batches import DEVICE_AUGMENTATIONS, Batches, ProcessesAhead, ThreadAhead
    from siamese_omniglot.device_drawings import DeviceDrawings
    from siamese_omniglot.nets import siamese

    backbone, augment = os.environ.get("BACKBONE", "conv4"), os.environ.get("AUGMENT", "imagenet")
    measuring.start_keras(device)
    random = np.random.RandomState(0)
    strokes = random.rand(20, 3, 3, 2)  # of each character
    drawings = [np.asarray(tiny.draw(strokes[number // 20], random).convert("L")) for number in range(400)]
    characters = [f"Alphabet/{number}" for number in range(20)]
    data = omniglot.Drawings(omniglot.DrawingStore(drawings), np.arange(400) // 20, characters, [], [], [])
    sampler = omniglot.PairSampler(data, np.arange(400), 0, False)
    batches = Batches(data.store, sampler, BATCH_SIZE, 0, augment, "batch", np.arange(PAIRS))
    on_device = augment in DEVICE_AUGMENTATIONS
    ahead = ThreadAhead(batches, 10 ** 9) if on_device else ProcessesAhead(batches, 2, 10 ** 9)
    make_images = DeviceDrawings(data.store, compiles=device.kind == "cpu").images if on_device else None
    waits, steps = [], iter(range(10 ** 9))
    network = siamese.build(backbone, "tf", 0)
    optimizer = update.make_optimizer("sgd")
    optimizer.learning_rate = 1e-4
    updater = update.Updater(network, optimizer, update.UpdateSettings("tf", 0.0, PAIRS, True),
                             workers.make(Rank(), device.kind), make_images)
    bare_step = bare.training_step(backbone, IMAGES)
    matrix = tf.random.stateless_uniform((MATRIX_SIDE, MATRIX_SIDE), [0, 0])
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))

    def step() -> None:
        started = time.perf_counter()
        batch = ahead.get(next(steps))
        waits.append(time.perf_counter() - started)
        updater(batch)

    functions = [step, lambda: bare_step().numpy(), lambda: product().numpy(),
                 (lambda: batches.make_changes(range(ahead.num_at_once))) if on_device else lambda: batches.make(0)]
    times = measuring.take_turns(functions, *ROUNDS[backbone])
    ahead.close()
    timed, bare_timed, product_timed, batch_timed = times
    batch_cpu = batch_timed.cpu / (ahead.num_at_once if on_device else 1)
    # the median round makes no changes, as many are made at once
    timed = timed._replace(cpu=timed.cpu + batch_cpu)
    seconds = timed.wall
    flops, matmul = bare.step_flops(backbone, IMAGES), 2.0 * MATRIX_SIDE ** 3 / product_timed.wall
    return dict(tensorflow=tf.__version__, backbone=backbone, augment=augment, first=timed.first,
                pairs_per_second=PAIRS / seconds, cpu_seconds_a_step=timed.cpu,
                bare_pairs_per_second=PAIRS / bare_timed.wall, of_bare=bare_timed.wall / seconds,
                of_bare_cpu=bare_timed.cpu / timed.cpu,
                batch_ms=1e3 * batch_cpu, wait=float(np.median(waits)) / seconds, gflops=flops / seconds / 1e9,
                matmul=matmul / 1e9, of_matmul=flops / seconds / matmul, peak_mb=measuring.peak_mb(),
                legs={f"omniglot {backbone}, {augment}": measuring.leg(timed, bare_timed)})


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks import measuring

    sys.exit(measuring.main(__file__, {"": COLUMNS}, [measure], sys.argv[1:]))
