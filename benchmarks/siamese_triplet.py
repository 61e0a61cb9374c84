"""Measure the triplet network: python3 benchmarks/siamese_triplet.py [--device=gpu] [PYTHON...].

A row of a table is for an interpreter. Every row comes from one process in which the step without kept features, the
step with them, the same convolutions as plain ops, and TensorFlow's own matrix multiplication take turns, so that their
ratios hold on a noisy machine. Medians; the first round warms up. The weights are random, which changes no speed.
"""
from __future__ import annotations

import os
import sys
import tempfile

BATCH_SIZE = 32
ROUNDS = 5
MATRIX_SIDE = 2048
NUM_PAIRS, EPOCHS = 6016, 10  # of Totally Looks Like
COLUMNS = (
    ("TensorFlow", "tensorflow", "{}"),
    ("triplets/s, features computed", "uncached", "{:.1f}"), ("CPU s a step", "uncached_cpu", "{:.2f}"),
    ("decoding inside the step", "inside", "{:.1f}"), ("CPU s a step", "inside_cpu", "{:.2f}"),
    ("and three towers of 32", "towers", "{:.1f}"), ("CPU s a step", "towers_cpu", "{:.2f}"),
    ("triplets/s, features kept", "cached", "{:.1f}"), ("CPU s a step", "cached_cpu", "{:.2f}"),
    ("first step s", "first", "{:.1f}"),
    ("ratio", "ratio", "{:.2f}"), ("ratio of CPU s", "cpu_ratio", "{:.2f}"),
    ("10 epochs, ratio of CPU s", "epochs_ratio", "{:.2f}"),
    ("images/s, frozen part", "images_per_second", "{:.1f}"),
    ("GFLOP/s, frozen part", "frozen_gflops", "{:.0f}"), ("of the bare convolutions", "frozen_of_bare", "{:.0%}"),
    ("GFLOP/s, step on kept", "cached_gflops", "{:.0f}"), ("of the bare ops", "cached_of_bare", "{:.0%}"),
    ("matmul GFLOP/s", "matmul", "{:.0f}"), ("peak MB", "peak_mb", "{:.0f}"),
)


def _draw(folder: str) -> list[str]:
    """Draw the images of a batch, JPEG files of the size of those of Totally Looks Like; return their paths."""
    import numpy as np
    from PIL import Image

    random, paths = np.random.RandomState(0), []
    for number in range(3 * BATCH_SIZE):
        paths.append(os.path.join(folder, f"{number}.jpg"))
        small = Image.fromarray(random.randint(0, 256, (30, 24, 3)).astype(np.uint8))
        small.resize((245, 300), 3).save(paths[-1], quality=90)
    return paths


def measure(device) -> dict:
    """Measure in this process."""
    import numpy as np

    from benchmarks import bare_siamese_triplet, measuring
    from common.devices.selection import Rank
    from common.keras import session, workers
    from common.keras.session import tf
    from siamese_triplet_tf2 import features
    from siamese_triplet_tf2.model import build_embedding, folded
    from siamese_triplet_tf2.pairs import Sampler
    from siamese_triplet_tf2.training import LEARNING_RATE
    from siamese_triplet_tf2.update import Part, Updater

    measuring.start_keras(device)
    class TowerUpdater(Updater):
        """Embeds anchors, positives and negatives one after the other, as the original does."""

        def _embed_towers(self, kept):
            return [self._model.tail(tower, training=False) for tower in tf.split(kept, 3)]

    model = build_embedding("resnet50", seed=0)
    optimizer, team = session.Adam(LEARNING_RATE), workers.make(Rank(), device.kind)
    updater, towers = Updater(model, optimizer, team), TowerUpdater(model, optimizer, team)
    inference = folded(model.frozen)
    frozen = tf.function(lambda images: inference(features.preprocess(images, "unit"), training=False))
    images = tf.constant(np.random.RandomState(0).rand(3 * BATCH_SIZE, 200, 200, 3), tf.float32)
    folder = tempfile.TemporaryDirectory()
    compute = features.ImageFeatures(model.frozen, _draw(folder.name), features.Decoding(accurate=False), "unit")
    rows = np.arange(3 * BATCH_SIZE)
    excluded = Sampler(BATCH_SIZE, 0, "redrawn", "listed").all().own_pair(BATCH_SIZE)
    counts = np.ones(BATCH_SIZE, np.float32)
    kept = Part(frozen(images).numpy(), excluded, counts)
    bare_frozen, frozen_flops = bare_siamese_triplet.forward(model.frozen, 3 * BATCH_SIZE)
    bare_tail, tail_flops = bare_siamese_triplet.forward_and_backward(model.tail, 3 * BATCH_SIZE)
    matrix = tf.ones([MATRIX_SIDE, MATRIX_SIDE])

    def uncached_step() -> None:
        kept = compute(rows)
        compute.expect(rows)
        updater(Part(kept, excluded, counts))

    def step_decoding_inside() -> None:
        updater(Part(compute(rows[::-1]), excluded, counts))  # which are not expected

    def step_of_towers() -> None:
        kept = [compute(tower) for tower in np.split(rows[::-1], 3)]
        towers(Part(np.concatenate(kept), excluded, counts))

    def cached_step() -> None:
        updater(kept)

    functions = [uncached_step, step_decoding_inside, step_of_towers, cached_step, lambda: frozen(images).numpy(),
                 lambda: bare_frozen().numpy(), lambda: bare_tail().numpy(),
                 lambda: tf.reduce_max(tf.matmul(matrix, matrix)).numpy()]
    uncached, inside, of_towers, cached, forward, bare_forward, bare_step, product = \
        measuring.take_turns(functions, ROUNDS)
    folder.cleanup()
    bare_uncached = bare_forward._replace(wall=bare_forward.wall + bare_step.wall, cpu=bare_forward.cpu + bare_step.cpu)
    steps = EPOCHS * (NUM_PAIRS * 8 // 10 // BATCH_SIZE)
    fill_cpu = 2 * NUM_PAIRS / (3 * BATCH_SIZE) * forward.cpu
    return dict(
        tensorflow=tf.__version__, uncached=BATCH_SIZE / uncached.wall, uncached_cpu=uncached.cpu,
        cached=BATCH_SIZE / cached.wall, cached_cpu=cached.cpu, ratio=uncached.wall / cached.wall,
        inside_cpu=inside.cpu, inside=BATCH_SIZE / inside.wall, towers_cpu=of_towers.cpu,
        towers=BATCH_SIZE / of_towers.wall, cpu_ratio=uncached.cpu / cached.cpu,
        epochs_ratio=steps * uncached.cpu / (fill_cpu + steps * cached.cpu), first=cached.first,
        images_per_second=3 * BATCH_SIZE / forward.wall, frozen_gflops=frozen_flops / forward.wall / 1e9,
        frozen_of_bare=bare_forward.wall / forward.wall, cached_gflops=tail_flops / cached.wall / 1e9,
        cached_of_bare=bare_step.wall / cached.wall, matmul=2.0 * MATRIX_SIDE ** 3 / product.wall / 1e9,
        peak_mb=measuring.peak_mb(),
        legs={"triplet, features computed": measuring.leg(uncached, bare_uncached),
              "triplet, features kept": measuring.leg(cached, bare_step)})


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks import measuring

    sys.exit(measuring.main(__file__, {"": COLUMNS}, [measure], sys.argv[1:]))
