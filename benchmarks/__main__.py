"""Measure all models and end with one table: python3 -m benchmarks [--device=gpu] [--repeats=3] [--only=MODEL].

A row is a training step or a tracked frame. Every number is the median of repeated measurements, each in a process of
its own. "host" is what a step costs with a network that computes next to nothing (benchmarks/host.py). Peak memory is
that of the process; it and the start-up, from the start of the program to the end of the first step with all that is
compiled in it, include everything that takes turns with the step. "Load" is that of the machine at the end of a
measurement: beside other programs, ratios hold and times do not. Each process prints its own table as well. The last
table is also written to .bench/<time>-<device>.json, with all measurements, and .md, after every row.
"""
from __future__ import annotations

import importlib
import os
import platform
import statistics
import sys
import time
from typing import Any, Iterator, Mapping

from benchmarks import host, measuring
from common import atomic_files
from common.cli import program
from common.errors import FlagError

FOLDER = os.path.join(measuring.ROOT, ".bench")
OMNIGLOT = ("siamese_omniglot", "measure")
# program, what it measures, variables of its environment
RUNS = (
    ("gitloss", "measure", {}), ("circleloss", "measure_training", {}), ("sa_siam", "measure", {}),
    (*OMNIGLOT, {"AUGMENT": "imagenet"}), (*OMNIGLOT, {"AUGMENT": "affine"}), (*OMNIGLOT, {"BACKBONE": "vgg16"}),
    ("siamese_triplet", "measure", {}),
)
# the case of benchmarks/host.py for each row; the host decodes images where the triplet network computes features
HOST_CASES = {
    "gitloss": "gitloss", "circleloss": "circleloss", "sa_siam appearance": "sa_siam training",
    "sa_siam semantic": "sa_siam training", "sa_siam frame": "sa_siam tracking",
    "omniglot conv4, imagenet": "omniglot reference", "omniglot conv4, affine": "omniglot corrected",
    "omniglot vgg16, imagenet": "omniglot reference", "triplet, features kept": "triplet",
}
COLUMNS = (
    ("model", "model", "{}"), ("device", "device", "{}"), ("step ms", "step_ms", "{:.1f}"),
    ("CPU ms", "cpu_ms", "{:.1f}"), ("of bare", "of_bare", "{:.0%}"), ("of bare, CPU", "of_bare_cpu", "{:.0%}"),
    ("host ms", "host_ms", "{:.2f}"), ("host CPU ms", "host_cpu_ms", "{:.2f}"), ("peak MB", "peak_mb", "{:.0f}"),
    ("first step s", "first_s", "{:.1f}"), ("start-up s", "start_up_s", "{:.1f}"), ("load", "load", "{:.0f}"),
)


def main(arguments: list[str]) -> int:
    """Measure, print and write the table; return the exit status."""
    return program.run(lambda stop: _main(arguments))


def _main(arguments: list[str]) -> int:
    options, words = {"repeats": "3", "only": ""}, []
    for argument in arguments:
        name, _, value = argument[2:].partition("=")
        if argument.startswith("--") and name in options:
            options[name] = value
        else:
            words.append(argument)
    if not options["repeats"].isdigit() or options["repeats"] == "0":
        raise FlagError(f"--repeats={options['repeats']}: expected a number from 1")
    parsed = measuring.parse(words)
    runs = [run for run in RUNS if run[0].startswith(options["only"])]
    if not runs or parsed.pythons != [sys.executable]:
        raise FlagError(f"--only={options['only']}: expected the beginning of one of "
                        f"{', '.join(sorted({run[0] for run in RUNS}))}; an interpreter is that of the command")
    path = os.path.join(FOLDER, f"{time.strftime('%Y%m%d-%H%M%S')}-{parsed.device}")
    os.makedirs(FOLDER, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for row in _rows(runs, parsed.device, int(options["repeats"])):
        rows.append(row)
        lines = measuring.table(COLUMNS, [medians(row) for row in rows])
        atomic_files.write_json(path + ".json", dict(cpus=os.cpu_count(), machine=platform.platform(), rows=rows))
        atomic_files.write_text(path + ".md", "\n".join([*lines, ""]))
    print("\n".join([*lines, "", f"Written to {path}.json and .md"]))
    return 0


def _rows(runs: Any, device: str, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield rows of the table, with a list of measurements for each number."""
    hosts: dict[str, list[dict[str, Any]]] = {}
    for name, part, variables in runs:
        script = os.path.join(measuring.ROOT, "benchmarks", f"{name}.py")
        found, loads = [], []
        for _ in range(repeats):
            found.append(measuring.run_part(script, part, sys.executable, device, **variables))
            loads.append(os.getloadavg()[0])
        module = importlib.import_module(f"benchmarks.{name}")
        columns = module.COLUMNS if hasattr(module, "COLUMNS") else module.TABLES[module.TRAINING]
        print("\n".join([*measuring.table(columns, found), ""]), flush=True)
        for leg in found[0]["legs"]:
            case = HOST_CASES.get(leg)
            if case and case not in hosts:
                hosts[case] = [measuring.run_part(host.__file__, case, sys.executable, device) for _ in range(repeats)]
            numbers = {key: [row["legs"][leg][key] for row in found] for key in found[0]["legs"][leg]}
            numbers["peak_mb"] = [row["peak_mb"] for row in found]
            numbers["load"] = loads
            if case:
                numbers["host_ms"] = [row["wall_ms"] for row in hosts[case]]
                numbers["host_cpu_ms"] = [row["cpu_ms"] for row in hosts[case]]
            yield dict(model=leg, device=device, tensorflow=found[0]["tensorflow"], **numbers)


def medians(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the median in place of each list of measurements."""
    return {key: statistics.median(value) if isinstance(value, list) else value for key, value in row.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
