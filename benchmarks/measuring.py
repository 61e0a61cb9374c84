"""What the benchmarks share: a row for each interpreter, functions that take turns, memory."""
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import Any, Callable, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
Column = tuple  # (title, key of the row, format)


def main(script: str, columns: Sequence[Column], measure: Callable[[], dict[str, Any]], arguments: list[str]) -> int:
    """Measure with each interpreter, in a process of its own, and print the table.

    Args:
        script: path of the benchmark.
        columns: of the table.
        measure: measures in this process; returns a row.
        arguments: paths of interpreters; none for this one.
    """
    if arguments == ["--measure"]:
        print(json.dumps(measure()))
        return 0
    rows = []
    for python in arguments or [sys.executable]:
        environment = dict(os.environ, PYTHONPATH=ROOT, TF_CPP_MIN_LOG_LEVEL="2", CUDA_VISIBLE_DEVICES="-1")
        result = subprocess.run([python, os.path.abspath(script), "--measure"], env=environment, check=True,
                                stdout=subprocess.PIPE)
        rows.append(json.loads(result.stdout.splitlines()[-1]))
    print("| " + " | ".join(title for title, _, _ in columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(form.format(row[key]) for _, key, form in columns) + " |")
    return 0


def take_turns(functions: Sequence[Callable[[], Any]], rounds: int, calls_a_round: int = 1
               ) -> list[tuple[float, float]]:
    """Median wall and CPU seconds of one call of each function, over rounds in which they take turns.

    A first round warms up.
    """
    measured: list[list[tuple[float, float]]] = [[] for _ in functions]
    for number in range(rounds + 1):
        for function, durations in zip(functions, measured):
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls_a_round):
                function()
            if number:
                durations.append(((time.perf_counter() - wall) / calls_a_round,
                                  (time.process_time() - cpu) / calls_a_round))
    medians = []
    for durations in measured:
        walls, cpus = (sorted(values) for values in zip(*durations))
        medians.append((walls[len(walls) // 2], cpus[len(cpus) // 2]))
    return medians


def peak_mb() -> float:
    """Peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
