"""Checkpoints as files: a bundle `model.ckpt-<step>` is an .index file and .data files of variables by name."""
from __future__ import annotations

import os
import re
import zlib
from typing import Any, Mapping, Sequence

from common.cli.parser import FlagValues
from common.errors import ZooError

PREFIX = "model.ckpt"
BUNDLE_FILE = re.compile(r"model\.ckpt-(\d+)\.(index|data-\d{5}-of-\d{5})")
_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def steps_in(folder: str) -> list[int]:
    """Steps of the checkpoints in a folder, rising; one counts when its index stands."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (BUNDLE_FILE.fullmatch(name) for name in names)
    return sorted(int(match.group(1)) for match in matches if match and match.group(2) == "index")


def prefix_of(path: str) -> str:
    """Return the absolute prefix of a checkpoint that may be given as one of its files."""
    return _SUFFIX.sub("", os.path.abspath(os.path.expanduser(path)))


def init_prefix(flags: FlagValues) -> str | None:
    """Return the prefix of the checkpoint that --init_checkpoint names, None when the flag is unset."""
    return prefix_of(flags.init_checkpoint) if flags.init_checkpoint else None


def require(prefix: str) -> None:
    """Raise ZooError when there is no such checkpoint."""
    if not os.path.isfile(prefix + ".index"):
        raise ZooError(f"{prefix}: no such checkpoint ({prefix}.index is missing); give its path without .index or "
                       ".data")


def fingerprint(prefix: str | None) -> list[Any] | None:
    """Return name and content of a checkpoint to take weights from, None for none; its index holds checksums.

    Raises:
        ZooError: there is no such checkpoint.
    """
    if not prefix:
        return None
    require(prefix)
    with open(prefix + ".index", "rb") as file:
        return [os.path.basename(prefix), zlib.crc32(file.read())]


def damaged(prefix: str, error: BaseException) -> ZooError:
    """Return the error that says a bundle is damaged, with TensorFlow's reason."""
    return ZooError(f"{prefix}: is damaged ({reason_of(error)})")


def require_shapes(prefix: str, shapes: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]]) -> None:
    """Check that a bundle holds all of some variables, for programs that use a trained model.

    Args:
        prefix: of the bundle.
        shapes: of the variables in the bundle, by name.
        wanted: shapes of the variables that are needed, by name.

    Raises:
        ZooError: the bundle lacks a variable or has it in another shape.
    """
    for name, shape in wanted.items():
        if shapes.get(name) != list(shape):
            raise ZooError(f"{prefix}: has {name} {shapes.get(name) or '(missing)'}, expected {list(shape)}; is it a "
                           "checkpoint of this model?")


def fitting(prefix: str, shapes: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]]
            ) -> tuple[list[str], list[str]]:
    """Return which variables can be loaded from a bundle; arguments as those of `require_shapes`.

    Returns:
        Their names, and one line for each of the others, with the reason.

    Raises:
        ZooError: no variable fits.
    """
    names, left_out = [], []
    for name, shape in wanted.items():
        if shapes.get(name) == list(shape):
            names.append(name)
        else:
            reason = f"it has {shapes[name]}, wanted {list(shape)}" if name in shapes else "not in the checkpoint"
            left_out.append(f"Not loaded from {prefix}: {name} ({reason})")
    if not names:
        raise ZooError(f"--init_checkpoint={prefix}: no variable of this model is in it")
    return names, left_out


def reason_of(error: BaseException) -> str:
    """Say in a line what TensorFlow found: the error's kind, and its first line that is not a mere heading."""
    message = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in str(message).splitlines()]
    telling = [line for line in lines if line and not line.endswith(":") and not line.startswith("Detected at node")]
    return f"{type(error).__name__}: {telling[0][:200] if telling else lines[0]}"
