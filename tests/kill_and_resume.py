"""Kill training runs and resume them: python3 -m tests.kill_and_resume MODEL --kills=N.

An undisturbed run is made first. Then runs of the same arguments are killed with SIGKILL, at random moments and while a
checkpoint is being written, and started again, until N kills are done and the run is finished; its final weights and
its metrics must equal the undisturbed run's bit for bit.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

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


class KillTest:
    """One subject, its data, its undisturbed run and the runs that are killed."""

    def __init__(self, subject: Subject, folder: str, seed: int = 0):
        self._subject = subject
        self._folder = folder
        self._random = random.Random(seed)
        self._data = os.path.join(folder, "data")
        MAKERS[subject.data_format](self._data)
        started = time.monotonic()
        self._finish("undisturbed")
        self._duration = time.monotonic() - started
        self._wanted = self._outcome("undisturbed")

    def check(self, name: str, kills: int, log=print) -> dict[str, int]:
        """Kill a run so many times, let it finish, compare.

        Returns:
            How many kills hit each moment: "writing" a checkpoint, "any" other moment, "finished" when the run came to
            its end before it was to be killed (it then begins anew).

        Raises:
            AssertionError: the outcome is not that of the undisturbed run.
        """
        hits = {"writing": 0, "any": 0, "finished": 0}
        while hits["writing"] + hits["any"] < kills:
            assert hits["finished"] < 10 * (kills + 1), f"{name}: runs finish before they can be killed"
            moment = self._kill(name, while_writing=hits["writing"] <= hits["any"])
            hits[moment] += 1
            log(f"{name}: kill hit '{moment}', checkpoints {self.checkpoints(name)}")
        self._finish(name)
        weights, metrics = self._outcome(name)
        assert set(weights) == set(self._wanted[0])
        for variable, value in weights.items():
            assert value.tobytes() == self._wanted[0][variable].tobytes(), f"{name}: {variable} differs"
        assert metrics == self._wanted[1], f"{name}: metrics differ"
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

    def _finish(self, name: str) -> None:
        subprocess.run(self.command(name), check=True, stdout=subprocess.DEVNULL, env=environment())

    def _kill(self, name: str, while_writing: bool) -> str:
        process = subprocess.Popen(self.command(name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env=environment())
        not_before = time.monotonic() + self._random.uniform(0.0, self._duration)
        folder = os.path.join(self.run_path(name), "ckpt")
        deadline = time.monotonic() + 20 * self._duration + 60
        let_pass, writing, seen = self._random.randint(0, 2), False, set()
        while process.poll() is None and time.monotonic() < deadline:
            if while_writing:
                seen |= {file for file in names_in(folder) if ".saving" in file}
                writing = len(seen) > let_pass
                if writing:
                    time.sleep(self._random.uniform(0.0, 0.02))
                    break
            elif time.monotonic() >= not_before:
                break
            else:
                time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            return "finished"
        return "writing" if writing else "any"

    def _outcome(self, name: str) -> tuple[dict[str, np.ndarray], list[dict]]:
        """Weights of the last checkpoint, and the metrics without times."""
        return (last_variables(self.run_path(name)),
                [{key: value for key, value in row.items() if not measures_time(key)}
                 for row in rows(self.run_path(name))])


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
    parser.add_argument("--kills_a_run", type=int, default=4, help="kills before a run may finish")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        test = KillTest(SUBJECTS[arguments.model], folder)
        total: dict[str, int] = {}
        for number in range(-(-arguments.kills // arguments.kills_a_run)):
            for moment, count in test.check(f"killed-{number}", arguments.kills_a_run).items():
                total[moment] = total.get(moment, 0) + count
        print(json.dumps({"model": arguments.model, "equal": True, "kills": total}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
