"""Run every model on a GPU: python3 -m tests.gpu_leg [--device=gpu|cpu], part of make test GPU=1.

Parity with the recorded numbers, two training steps, and a run with --deterministic that is resumed and must end with
the bits of one that was not interrupted. Prints a line for each. Exit status 1 if one fails or there is no GPU.
--device=cpu tries the leg itself.
"""
from __future__ import annotations

import glob
import os
import subprocess
import sys
import tempfile
from typing import Any, Iterator

from common.cli import program
from common.errors import FlagError, ZooError
from common.run.run_dir import read_arguments
from common.tiny_data.__main__ import MAKERS
from tests import ROOT
from tests.kill_and_resume import SUBJECTS
from tests.programs import run
from tests.results import assert_same_variables, losses

_LOOK = """import tensorflow as tf
print(tf.__version__, len(tf.config.experimental.list_physical_devices("GPU")))"""

SECONDS = 3600  # for a program that hangs


class Failed(Exception):
    """A check failed; the message says why."""


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Check every model; return the exit status."""
    del stop
    device = {"": "gpu", "--device=gpu": "gpu", "--device=cpu": "cpu"}.get(" ".join(arguments))
    if device is None:
        raise FlagError("usage: python3 -m tests.gpu_leg [--device=gpu|cpu]")
    version, num_gpus = run(sys.executable, "-c", _LOOK, TF_CPP_MIN_LOG_LEVEL="3").stdout.split()[-2:]
    if device == "gpu" and num_gpus == "0":
        raise ZooError(f"GPU leg: no GPU (TensorFlow {version} sees none); nothing was tested")
    failures = 0
    for name, check, case in _checks():
        try:
            check(device, *case)
            print(f"passed: {name}", flush=True)
        except (Failed, AssertionError) as error:
            failures += 1
            print(f"FAILED: {name}: {error}", flush=True)
    print(f"GPU leg on a {device}, TensorFlow {version}: {failures} failed")
    return 1 if failures else 0


def _checks() -> Iterator[tuple[str, Any, tuple]]:
    for model in sorted(SUBJECTS):
        for fixture in sorted(glob.glob(os.path.join(ROOT, "tests", "golden", model, "*.npz"))):
            yield f"parity of {model} with {os.path.basename(fixture)}", parity, (model, fixture)
        yield f"two steps and a resumed run of {model}", train, (model,)


def parity(device: str, model: str, fixture: str) -> None:
    """Compare with recorded numbers."""
    _run("-m", "tests.parity", model, fixture, f"--device={device}")


def train(device: str, model: str) -> None:
    """Train two steps, resume to four, and train four at once."""
    subject = SUBJECTS[model]
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        MAKERS[subject.data_format](data)

        def steps(output: str, number: int, *flags: str) -> str:
            _run(os.path.join(ROOT, subject.entry), f"--data_path={data}", f"--output_path={folder}/{output}",
                 *subject.flags, f"--device={device}", "--deterministic", f"--train_steps={number}", *flags)
            return os.path.join(folder, output, "0")

        whole, parts = steps("whole", 4), steps("parts", 2)
        if read_arguments(parts)["identity"]["device"] != device:
            raise Failed(f"it did not train on a {device}")
        steps("parts", 4, f"--resume={parts}")
        if losses(parts) != losses(whole):
            raise Failed(f"losses {losses(parts)}, undisturbed {losses(whole)}")
        assert_same_variables(parts, whole)


def _run(*command: str) -> None:
    try:
        done = run(sys.executable, *command, timeout=SECONDS, PYTHONPATH=ROOT, TF_CPP_MIN_LOG_LEVEL="3")
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {SECONDS} s") from None
    if done.returncode:
        raise Failed(f"exit status {done.returncode}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


if __name__ == "__main__":
    sys.exit(main())
