"""What the benchmarks share: processes of their own, a device, functions that take turns, memory, tables."""
from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from common.cli import program
from common.devices import selection
from common.devices.selection import Device
from common.errors import FlagError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEVICES = ("cpu", "gpu")
_STARTED = time.perf_counter()
Column = tuple  # (title, key of the row, format)
Row = dict


class Timing(NamedTuple):
    """Seconds of a call: medians over rounds, and the first call with all that is compiled in it."""

    wall: float
    cpu: float
    first: float
    before: float  # from the start of the program to the first round


class Arguments(NamedTuple):
    """The command line of a benchmark: `[--device=cpu|gpu] [PYTHON...]`."""

    device: str
    part: str  # of the benchmark, to be measured in this process; empty to start processes
    pythons: list[str]


def parse(arguments: Iterable[str]) -> Arguments:
    """Parse a command line.

    Raises:
        FlagError: it has another flag, or another device.
    """
    flags, pythons = {"device": "cpu", "measure": ""}, []
    for argument in arguments:
        name, _, value = argument[2:].partition("=")
        if not argument.startswith("--"):
            pythons.append(argument)
        elif name not in flags or (name == "device" and value not in DEVICES):
            raise FlagError(f"{argument}: expected --device={' or '.join(DEVICES)}, or paths of interpreters")
        else:
            flags[name] = value
    return Arguments(flags["device"], flags["measure"], pythons or [sys.executable])


def main(script: str, tables: Mapping[str, Sequence[Column]], measures: Sequence[Callable[[Device], Row]],
         arguments: Sequence[str]) -> int:
    """Measure with each interpreter and print the tables; return the exit status.

    Args:
        script: path of the benchmark.
        tables: columns by the title of the table.
        measures: each measures in a process of its own, on a device, and returns a part of an interpreter's row.
        arguments: see `Arguments`.
    """

    def body(stop: program.StopRequest) -> int:
        del stop
        parsed = parse(arguments)
        if parsed.part:
            measure = {function.__name__: function for function in measures}[parsed.part]
            print(json.dumps(measure(selection.choose(parsed.device, os.environ))))
            return 0
        rows = []
        for python in parsed.pythons:
            parts = [run_part(script, function.__name__, python, parsed.device) for function in measures]
            rows.append({key: value for part in parts for key, value in part.items()})
        for title, columns in tables.items():
            print("\n".join([*([title, ""] if title else []), *table(columns, rows), ""]))
        return 0

    return program.run(body)


def run_part(script: str, part: str, python: str, device: str, **variables: str) -> Row:
    """Measure a part of a benchmark in a process of its own, which prints its errors; the first one ends this program.

    Args:
        script: path of the benchmark.
        part: what to measure.
        python: path of the interpreter.
        device: "cpu" or "gpu".
        variables: more variables of the environment.
    """
    environment = dict(os.environ, PYTHONPATH=ROOT, TF_CPP_MIN_LOG_LEVEL="2", **variables)
    result = subprocess.run([python, os.path.abspath(script), f"--measure={part}", f"--device={device}"],
                            env=environment, stdout=subprocess.PIPE, check=False)
    if result.returncode:
        raise SystemExit(result.returncode)
    return json.loads(result.stdout.splitlines()[-1])


def table(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Return the lines of a Markdown table; a value that is missing or None is a dash."""
    lines = ["| " + " | ".join(title for title, _, _ in columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = ["-" if row.get(key) is None else form.format(row[key]) for _, key, form in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def session_config(device: Device) -> Any:
    """Switch to graph mode and return the configuration of a session on a device.

    Raises:
        ZooError: TensorFlow sees no GPU.
    """
    from common.devices.npu_options import NpuOptions
    from common.graph import compat, npu

    compat.enable()
    return npu.session_config(selection.settle(device, device.kind, compat.tf), NpuOptions(""), selection.num_cpus())


def start_keras(device: Device) -> None:
    """Make Keras compute on a device; errors as those of `session_config`."""
    from common.keras import session

    session.set_threads(selection.num_cpus(), session.settle(device, device.kind).kind)


def take_turns(functions: Sequence[Callable[[], Any]], rounds: int, calls_a_round: int = 1) -> list[Timing]:
    """Time each function over rounds in which they take turns; a first round warms up."""
    before = time.perf_counter() - _STARTED
    firsts, rest = [], [[] for _ in functions]  # type: list[float], list[list[tuple[float, float]]]
    for function in functions:
        started = time.perf_counter()
        function()
        firsts.append(time.perf_counter() - started)
    for _ in range(rounds):
        for function, durations in zip(functions, rest):
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls_a_round):
                function()
            durations.append(((time.perf_counter() - wall) / calls_a_round,
                              (time.process_time() - cpu) / calls_a_round))
    return [Timing(*(statistics.median(values) for values in zip(*durations)), first, before)
            for durations, first in zip(rest, firsts)]


def leg(step: Timing, bare: Timing) -> dict[str, float]:
    """Return what the table of all benchmarks says about a step, given that of the bare convolutions."""
    return dict(step_ms=1e3 * step.wall, cpu_ms=1e3 * step.cpu, of_bare=bare.wall / step.wall,
                of_bare_cpu=bare.cpu / step.cpu, first_s=step.first, start_up_s=step.before + step.first)


def peak_mb() -> float:
    """Peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
