"""What holds for a resumed run of every model."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, NamedTuple

from tests.programs import error_line
from tests.results import assert_same_variables


class Resumed(NamedTuple):
    """Run directories of equal runs, and what the programs printed."""

    whole: Path
    parts: Path
    out: str


def train_in_parts(train: Callable, folder: Path, capfd: Any, first: int, total: int, resume_flags: tuple = ()
                   ) -> Resumed:
    """Train at once, and in two runs of which the second resumes the first by its path.

    The last checkpoints must hold the same variables, bit for bit.

    Args:
        train: trains with an output folder and flags; returns the exit status.
        folder: for the outputs.
        capfd: pytest's fixture.
        first: updates of the first run.
        total: updates in all.
        resume_flags: further flags of the second run.
    """
    whole, parts = folder / "whole", folder / "parts"
    assert train(whole, f"--train_steps={total}") == 0
    assert train(parts, f"--train_steps={first}") == 0
    assert train(parts, f"--train_steps={total}", f"--resume={parts / '0'}", *resume_flags) == 0
    out = capfd.readouterr().out
    assert f"Resuming after {first} updates." in out
    assert_same_variables(whole / "0", parts / "0")
    return Resumed(whole / "0", parts / "0", out)


def error_of_other_arguments(train: Callable, folder: Path, capfd: Any, flag: str) -> str:
    """Return how an unfinished run refuses to be resumed with another flag; the error must say a way out.

    Args:
        train: trains with an output folder and flags; returns the exit status.
        folder: for the output.
        capfd: pytest's fixture.
        flag: that the unfinished run was not given.
    """
    assert train(folder) == 0
    os.remove(str(folder / "0" / "metrics.jsonl"))  # as if it had been killed
    assert train(folder, flag) == 1
    error = error_line(capfd)
    assert "--resume=never" in error
    return error
