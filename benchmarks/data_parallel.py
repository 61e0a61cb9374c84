"""Measure what several processes cost: python3 benchmarks/data_parallel.py [--device=gpu] [PYTHON...].

A row of a table is for an interpreter. Real trainings of the Omniglot network, conv4, batch 32 (64 pairs), on drawn
data: one process, then two on the same processors, in turns. Seconds are those of a step, median after warm-up, as the
runs report them. Then two processes do nothing but sum as many numbers as a step of each model does (TensorFlow's
collective ops, over this machine's network); the best of 8 is given.
"""
from __future__ import annotations

import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ENTRY = "siamese_omniglot/run_scripts/run_siamese_train.py"
BATCH_SIZE = 32
STEPS = 25
ROUNDS = 3
PROCESSES = (1, 2)
COLUMNS = (
    ("TensorFlow", "tensorflow", "{}"), ("ms a step, 1 process", "ms_1", "{:.0f}"), ("2 processes", "ms_2", "{:.0f}"),
    ("share of the time that 2 add", "overhead", "{:.1%}"), ("MB sent by a rank in a step", "megabytes", "{:.1f}"),
    *((f"sum of {title}, ms", title, "{:.1f}") for title in ("1 number", "conv4", "VGG16", "resnet34")),
)
CONV4_PARAMETERS = 243_521
SUMS = {"1 number": 1, "conv4": CONV4_PARAMETERS, "VGG16": 17_075_009, "resnet34": 21_293_184}
SUM_ROUNDS = 9


def _step_seconds(data: str, num_processes: int, device_kind: str) -> float:
    """Train in processes of their own; return the seconds of a step."""
    from benchmarks import measuring

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, os.path.join(measuring.ROOT, *ENTRY.split("/")), f"--data_path={data}",
                   f"--output_path={folder}", f"--device={device_kind}", "--backbone=conv4", "--performance",
                   f"--batch_size={BATCH_SIZE}", f"--train_steps={STEPS}", "--epochs=99"]
        if num_processes > 1:
            command += ["--distributed=True", f"--nproc_per_node={num_processes}"]
        status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
        if status:
            raise SystemExit(status)
        (path,) = glob.glob(os.path.join(folder, "*", "metrics.jsonl"))
        with open(path, encoding="utf-8") as file:
            return json.loads(file.read().splitlines()[-1])["step_seconds"]


def measure(device) -> dict:
    """Measure with this process's interpreter."""
    from importlib import metadata

    from common.tiny_data import omniglot

    with tempfile.TemporaryDirectory() as data:
        omniglot.make(data)
        rounds = [[_step_seconds(data, number, device.kind) for number in PROCESSES] for _ in range(ROUNDS)]
    alone, together = (statistics.median(column) for column in zip(*rounds))
    version = next(found.version for found in metadata.distributions()
                   if found.metadata["Name"].lower().replace("_", "-") in ("tensorflow", "tensorflow-cpu"))
    sent = 2 * (PROCESSES[1] - 1) / PROCESSES[1] * 4 * CONV4_PARAMETERS  # a ring, float32
    return dict(tensorflow=version, ms_1=1e3 * alone, ms_2=1e3 * together, overhead=together / alone - 1.0,
                megabytes=sent / 1e6, **_sum_ms())


def _sum_ms() -> dict[str, float]:
    """Return the milliseconds of each sum, between two processes that do nothing else."""
    from common.distributed.launcher import free_ports

    cluster = dict(worker=[f"127.0.0.1:{port}" for port in free_ports(2)])
    ranks = []
    for rank in range(2):
        config = json.dumps(dict(cluster=cluster, task=dict(type="worker", index=rank)))
        ranks.append(subprocess.Popen([sys.executable, os.path.abspath(__file__), "--sum"], stdout=subprocess.PIPE,
                                      env=dict(os.environ, TF_CONFIG=config)))
    outputs = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise RuntimeError("a process that sums has failed")
    return json.loads(outputs[0].splitlines()[-1])


def _measure_sums() -> None:
    """Sum as one of two processes, and print the milliseconds."""
    from common.devices.ranks import current
    from common.graph.compat import enable, tf
    from common.graph.workers import ServerWorkers

    enable()
    workers = ServerWorkers(current(os.environ, "cpu"), 2, False, 600.0)
    with tf.Graph().as_default():
        with workers.scope():
            sums = {title: workers.total(tf.ones([number])).op for title, number in SUMS.items()}
        session = workers.open_session(tf.ConfigProto())
        found = {}
        for title, operation in sums.items():
            seconds = []
            for _ in range(SUM_ROUNDS):
                workers.any(False)  # both begin together
                started = time.perf_counter()
                session.run(operation)
                seconds.append(time.perf_counter() - started)
            found[title] = 1e3 * min(seconds[1:])
    print(json.dumps(found), flush=True)
    os._exit(0)  # without shutting down a server that another one talks to


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from benchmarks import measuring

    if sys.argv[1:] == ["--sum"]:
        _measure_sums()
    sys.exit(measuring.main(__file__, {"": COLUMNS}, [measure], sys.argv[1:]))
