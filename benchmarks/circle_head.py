"""Measure the head of Circle loss by the number of classes: python3 benchmarks/circle_head.py [CLASSES...].

Batch 30, embedding 512, the reference recipe and Adam, without the network: loss, loss with gradients, and a whole step
take turns. Each number of classes has a process of its own; its peak memory includes the initial values.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys

BATCH_SIZE, DIMENSIONS = 30, 512
CLASSES = ("10000", "100000")
ROUNDS = 5
COLUMNS = (
    ("classes", "classes", "{:,}"), ("weights, MB", "weights_mb", "{:,.0f}"), ("loss, ms", "loss_ms", "{:,.0f}"),
    ("and gradients, ms", "gradients_ms", "{:,.0f}"), ("whole step, ms", "step_ms", "{:,.0f}"),
    ("variables, MB", "variables_mb", "{:,.0f}"), ("peak, MB", "peak_mb", "{:,.0f}"),
)


def main(arguments: list[str]) -> int:
    """Measure each number of classes and print the table."""
    if arguments[:1] == ["--measure"]:
        print(json.dumps(measure(int(arguments[1]))))
        return 0
    print("| " + " | ".join(title for title, _, _ in COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for classes in arguments or CLASSES:
        environment = dict(os.environ, PYTHONPATH=measuring.ROOT, TF_CPP_MIN_LOG_LEVEL="2", CUDA_VISIBLE_DEVICES="-1")
        result = subprocess.run([sys.executable, os.path.abspath(__file__), "--measure", classes], env=environment,
                                check=True, stdout=subprocess.PIPE)
        row = json.loads(result.stdout.splitlines()[-1])
        print("| " + " | ".join(form.format(row[key]) for _, key, form in COLUMNS) + " |", flush=True)
    return 0


def measure(classes: int) -> dict:
    """Return the row of a number of classes."""
    import numpy as np

    from circleloss_tf1 import circle_loss, facenet, model
    from common.graph.compat import enable, tf

    enable()
    random = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as session:
        prelogits = tf.placeholder(tf.float32, [BATCH_SIZE, DIMENSIONS])
        labels = tf.placeholder(tf.int32, [BATCH_SIZE])
        global_step = tf.get_variable("Variable", [], tf.int32, tf.zeros_initializer(), trainable=False)
        head = model.build_head(prelogits, classes, "logits", 0)
        centers = tf.get_variable("centers", [classes, DIMENSIONS], initializer=tf.zeros_initializer(), trainable=False)
        loss = circle_loss.circle_loss(head.similarities, labels)
        settings = facenet.StepSettings("ADAM", 1000, 0.1, 0.9999)
        step = facenet.training_step(loss, [], tf.constant(0.001), global_step, settings)
        move = facenet.update_centers(centers, centers.read_value(), prelogits, labels, 0.95)
        variables = tf.global_variables()
        for variable in variables:  # one at a time, for the peak to be that of training
            session.run(variable.initializer)
        feeds = {prelogits: random.randn(BATCH_SIZE, DIMENSIONS),
                 labels: random.randint(0, classes, BATCH_SIZE)}
        gradients = [gradient.op for gradient, _ in step.gradients]
        found = measuring.take_turns([lambda: session.run(loss, feeds), lambda: session.run(gradients, feeds),
                                      lambda: session.run([step.train_op, move.op], feeds)], ROUNDS)
        numbers = sum(variable.shape.num_elements() for variable in variables)
    loss_ms, gradients_ms, step_ms = (1e3 * timing.wall for timing in found)
    return dict(classes=classes, weights_mb=4e-6 * classes * DIMENSIONS, loss_ms=loss_ms, gradients_ms=gradients_ms,
                step_ms=step_ms, variables_mb=4e-6 * numbers, peak_mb=measuring.peak_mb())


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks import measuring

    sys.exit(main(sys.argv[1:]))
