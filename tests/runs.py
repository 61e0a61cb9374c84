"""Runs without a model, for tests of what all models share."""
from __future__ import annotations

import contextlib

from common.cli.parser import FlagSet
from common.cli.shared_flags import define_accelerator, define_steps_per_loop, define_training
from common.devices.selection import Device, Rank
from common.run import opening
from common.run.run_dir import RunRequest


def request(folder, *arguments, updates=10, device=None, rank=None):
    """What a train entry `/model/train.py` asks for, with a batch of 4."""
    flags = FlagSet("test")
    define_training(flags, "Images", 4, 0)
    define_steps_per_loop(flags)
    define_accelerator(flags, "force_fp16")
    words = [f"--output_path={folder}", *arguments]
    return RunRequest("/model/train.py", "Net_ID1_for_TensorFlow", words, flags.parse(words),
                      device or Device("cpu", "0"), "force_fp16", updates, rank=rank or Rank())


def clock(values):
    """A clock that says some values one after the other."""
    ticks = iter(values)
    return lambda: next(ticks)


@contextlib.contextmanager
def open_run(folder, *arguments, identity=(), notices=(), **options):
    """Open a run; `options` as those of `request`."""
    asked = request(folder, *arguments, **options)
    with opening.open_run(asked, asked.device, "2.6.5", dict(identity), notices) as run:
        yield run


def opened(folder, *arguments, **options):
    """Open a run and close it again."""
    with open_run(folder, *arguments, **options) as run:
        return run
