"""Data-parallel training with a scaled loss, in one process of a job on fake NPUs: for test_npu_overflow."""
from __future__ import annotations

import json
import os
from typing import Any, Sequence

from common.devices import ranks
from common.devices.npu_options import NpuOptions
from common.devices.selection import Device

NUM_STEPS = 4
RATE = 0.125


def example(rank: int, step: int) -> list[float]:
    """What a rank multiplies its weights with in a step, from 1."""
    return [1.0 + rank, 0.5 * step]


def main(argv: Sequence[str]) -> int:
    """Train, and write the weights after each step and the last loss scale to `<folder>/<rank>.json`.

    Args:
        argv: "workers" to add gradients up as the zoo does, "wrapper" as the adapter's wrapper of optimizers does, and
            the folder.
    """
    way, folder = argv
    import tensorflow as tf

    from common.keras import npu, session, workers

    rank = ranks.current(os.environ, "npu")
    npu.start(Device("npu", os.environ["ASCEND_DEVICE_ID"], "npu_device"), NpuOptions("allow_mix_precision"), rank)
    team = workers.make(rank, "npu")
    layer = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    layer.build((None, 2))
    variables = layer.trainable_variables
    optimizer = tf.keras.optimizers.SGD(RATE)
    if way == "wrapper":
        import npu_device

        optimizer = npu_device.distribute.npu_distributed_keras_optimizer_wrapper(optimizer, "sum")
    optimizer = npu.loss_scale_optimizer(optimizer)
    session.build_optimizer(optimizer, variables)

    def update(examples: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(examples))
        source = workers.Workers if way == "wrapper" else type(team)
        gradients = source.gradients(team, optimizer, tape, loss, variables)
        team.apply(optimizer, gradients, variables)
        return team.total(loss)

    step, seen = team.compile(update), []
    for number in range(1, NUM_STEPS + 1):
        step(tf.constant([example(rank.number, number)]))
        seen.append(tf.reshape(variables[0], [-1]).numpy().tolist())
    with open(os.path.join(folder, f"{rank.number}.json"), "w", encoding="utf-8") as file:
        json.dump(dict(weights=seen, scale=_scale(optimizer)), file)
    return 0


def _scale(optimizer: Any) -> float:
    return float(optimizer.loss_scale if hasattr(optimizer, "loss_scale") else optimizer.dynamic_scale)
