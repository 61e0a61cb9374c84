"""Kill training runs and resume them: python3 -m tests.kill_and_resume MODEL --kills=N.

An undisturbed run is made first. Then runs of the same arguments are killed with SIGKILL, while a checkpoint is
written, during an evaluation and at any other moment, and started again, until N kills are done and the run is
finished. Its final weights and its metrics must equal the undisturbed run's bit for bit.

The runs that are killed are forked from a process that has imported TensorFlow, which halves their time. The
undisturbed one is started as a user starts it.
"""
from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable, NamedTuple

import numpy as np

from common.run import loop, metrics
from common.tiny_data.__main__ import MAKERS
from tests import ROOT
from tests.programs import environment
from tests.results import last_variables, rows


@dataclasses.dataclass(frozen=True)
class Subject:
    """A train entry and what to give it, besides data and output."""

    entry: str
    data_format: str
    flags: tuple

    @property
    def module(self) -> str:
        """Name of the entry's module."""
        return self.entry[:-len(".py")].replace("/", ".")

    @property
    def preloaded(self) -> list[str]:
        """Modules that a run imports; none of them starts a thread or opens a device."""
        session = "common.graph.session" if "_tf1/" in self.entry else "common.keras.session"
        return [self.module, f"{self.entry.split('/')[0]}.training", session, "matplotlib.pyplot", "jinja2"]


SUBJECTS = {
    "sa_siam": Subject("sa_siam_tf1/train_siamese_model.py", "tracking",
                       ("--device=cpu", "--batch_size=1", "--train_steps=6", "--num_examples_per_epoch=3",
                        "--optimizer=MOMENTUM")),
    "circleloss": Subject("circleloss_tf1/train_acc.py", "faces",
                          ("--device=cpu", "--batch_size=4", "--train_steps=12", "--epoch_size=4",
                           "--model_def=models.resnet10", "--recipe=corrected", "--image_size=32", "--random_flip",
                           "--keep_probability=0.8", "--lfw_batch_size=16")),
    "gitloss": Subject("gitloss_tf1/gitloss.py", "mnist",
                       ("--device=cpu", "--batch_size=8", "--train_steps=20", "--update_centers=8")),
    "siamese_triplet": Subject("siamese_triplet_tf2/siamese_network.py", "look_alikes",
                               ("--device=cpu", "--backbone=tiny", "--batch_size=8", "--epochs=5",
                                "--cache_features=disk")),
    "siamese_omniglot": Subject("siamese_omniglot/run_scripts/run_siamese_train.py", "omniglot",
                                ("--device=cpu", "--backbone=conv4", "--batch_size=4", "--epochs=2")),
}
# values of metrics.jsonl that measure time, besides all whose names end in "seconds"
TIMES = {"train_time", "images_per_second", "time_train", "time_evaluate"}
LOG = functools.partial(print, flush=True)
MOMENTS = ("writing", "evaluating", "other")


class KillTest:
    """One subject, its data, its undisturbed run and the runs that are killed."""

    def __init__(self, subject: Subject, folder: str, seed: int = 0):
        self._subject = subject
        self._folder = folder
        self._random = random.Random(seed)
        self._data = os.path.join(folder, "data")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(subject.preloaded)
        MAKERS[subject.data_format](self._data)
        subprocess.run(self.command("undisturbed"), check=True, stdout=subprocess.DEVNULL, env=environment())
        started = time.monotonic()
        self._finish("forked")
        self._duration = time.monotonic() - started
        self._wanted = self._outcome("undisturbed")
        self._evaluated = {row["step"] for row in rows(self.run_path("undisturbed")) if row["kind"] == "eval"}

    def check(self, name: str, kills: int, log=LOG) -> dict[str, int]:
        """Kill a run so many times, and on until a kill has hit a write and an evaluation; let it finish, compare.

        Returns:
            How many kills hit each of MOMENTS, and how often a run was "finished" before it was to be killed (it then
            begins anew).

        Raises:
            AssertionError: the outcome is not that of the undisturbed run.
        """
        hits = dict.fromkeys((*MOMENTS, "finished"), 0)
        aims = itertools.cycle(MOMENTS)
        while sum(hits[moment] for moment in MOMENTS) < kills or not (hits["writing"] and hits["evaluating"]):
            assert sum(hits.values()) < 10 * (kills + 1), f"{name}: kills do not hit what they are aimed at: {hits}"
            moment = self._kill(name, next(aims))
            hits[moment] += 1
            log(f"{name}: kill hit '{moment}', checkpoints {self.checkpoints(name)}")
        self._finish(name)
        weights, recorded = self._outcome(name)
        assert set(weights) == set(self._wanted[0])
        for variable, value in weights.items():
            assert value.tobytes() == self._wanted[0][variable].tobytes(), f"{name}: {variable} differs"
        assert recorded == self._wanted[1], f"{name}: metrics differ"
        return hits

    def command(self, name: str) -> list[str]:
        """The command that starts or resumes a run."""
        return [sys.executable, os.path.join(ROOT, self._subject.entry), f"--data_path={self._data}",
                f"--output_path={os.path.join(self._folder, name)}", *self._subject.flags]

    def run_path(self, name: str) -> str:
        """The run directory."""
        return os.path.join(self._folder, name, "0")

    def checkpoints(self, name: str) -> list[str]:
        """Index files of the checkpoints that a run has."""
        folder = os.path.join(self.run_path(name), "ckpt")
        return sorted(file for file in names_in(folder) if file.endswith("index"))

    def _start(self, name: str, aim: str = "") -> multiprocessing.Process:
        death = Death(aim, self._random.randint(1, 2), self._random.random())
        process = self._context.Process(target=_train, args=(self._subject.module, self.command(name)[1:], death))
        process.start()
        return process

    def _finish(self, name: str) -> None:
        process = self._start(name)
        process.join()
        assert process.exitcode == 0, f"{name}: exit status {process.exitcode}"

    def _kill(self, name: str, aim: str) -> str:
        """Start a run and kill it, if possible at the moment that is aimed at; return the moment that was hit."""
        process = self._start(name, aim)
        process.join(self._random.uniform(0.0, self._duration) if aim == "other" else 20 * self._duration + 60)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0, f"{name}: exit status {process.exitcode}"
            return "finished"
        is_writing = any(".saving" in file for file in names_in(self._checkpoint_folder(name)))
        if self._is_evaluated_next(name) and (aim == "evaluating" or not is_writing):
            return "evaluating"  # some models write the checkpoint meanwhile
        return "writing" if is_writing else "other"

    def _checkpoint_folder(self, name: str) -> str:
        return os.path.join(self.run_path(name), "ckpt")

    def _is_evaluated_next(self, name: str) -> bool:
        """Whether an evaluation follows the last step, and is not recorded yet."""
        last = metrics.last_row(self.run_path(name)) or dict(kind="step", step=0)
        return last["kind"] == "step" and last["step"] in self._evaluated

    def _outcome(self, name: str) -> tuple[dict[str, np.ndarray], list[dict]]:
        """Weights of the last checkpoint, and the metrics without times."""
        return (last_variables(self.run_path(name)),
                [{key: value for key, value in row.items() if not measures_time(key)}
                 for row in rows(self.run_path(name))])


class Death(NamedTuple):
    """When a run kills itself: in a save ("writing"), in an evaluation ("evaluating"), else while it writes results.

    A timer in the process hits moments of milliseconds, which another process would miss on a busy machine.
    """

    aim: str
    number: int  # of the save or evaluation, from 1
    fraction: float  # of the time in which to die

    def arrange(self) -> None:
        """Let this process kill itself; nothing is changed for any other aim."""
        if self.aim == "writing":
            os.makedirs = self._deadly(os.makedirs, 0.03, lambda path, *_, **__: ".saving" in path)
        if self.aim in ("writing", "evaluating"):
            run = loop.run

            def run_and_die(task, record):
                if self.aim == "evaluating":
                    task.evaluate = self._deadly(task.evaluate, 0.2)
                task.finish = self._replace(number=1)._deadly(task.finish, 0.2)
                run(task, record)

            loop.run = run_and_die

    def _deadly(self, function: Callable, seconds: float, is_counted: Callable = lambda *_: True) -> Callable:
        """Return a function whose call starts the timer when it is the one of the given number."""
        calls = itertools.count(1)

        def call(*arguments, **keywords):
            if is_counted(*arguments, **keywords) and next(calls) == self.number:
                timer = threading.Timer(self.fraction * seconds, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()
            return function(*arguments, **keywords)

        return call


def _train(module: str, command: list[str], death: Death) -> None:
    """Be a run, in a process that was forked for it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    sys.argv = command
    death.arrange()
    sys.exit(importlib.import_module(module).main())


def measures_time(key: str) -> bool:
    """Whether a value of metrics.jsonl differs from run to run."""
    return key in TIMES or key.endswith("seconds")


def names_in(folder: str) -> list[str]:
    """Names in a folder, none when it is not there; a run may be archived at any moment."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def main(argv: list[str]) -> int:
    """Kill and compare; print what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(SUBJECTS))
    parser.add_argument("--kills", type=int, default=20, help="kills in all")
    parser.add_argument("--kills_a_run", type=int, default=5, help="kills before a run may finish")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which to kill")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        test = KillTest(SUBJECTS[arguments.model], folder, arguments.seed)
        total: dict[str, int] = {}
        for number in range(-(-arguments.kills // arguments.kills_a_run)):
            for moment, count in test.check(f"killed-{number}", arguments.kills_a_run).items():
                total[moment] = total.get(moment, 0) + count
        print(json.dumps({"model": arguments.model, "equal": True, "kills": total}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
