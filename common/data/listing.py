"""Which files in a folder count as data, and the order of frames."""
from __future__ import annotations

import os
import re
from typing import Iterator, Sequence

# besides everything hidden, such as ._name and .DS_Store of macOS and .ipynb_checkpoints of Jupyter
_LEFT_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin",
                    "system volume information", "@eadir", "lost+found")
_LAST_NUMBER = re.compile("(.*?)([0-9]+)")  # prefix and number of a stem
_FRACTION = re.compile(r".*[0-9]\.")  # a prefix after which digits are a fraction
_NUMBERS = re.compile(r"([0-9]+(?:\.[0-9]+)?)")


def is_left_behind(name: str) -> bool:
    """Whether a file or folder, given without its parent, is hidden or was left by an operating system or a tool."""
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def is_path_left_behind(path: str) -> bool:
    """Whether `is_left_behind` holds for any part of a relative path with `/`, as in archives."""
    return any(is_left_behind(part) for part in path.split("/") if part not in ("", "."))


def names(folder: str) -> list[str]:
    """Return the sorted names in a folder, without files that systems left behind."""
    return sorted(name for name in os.listdir(folder) if not is_left_behind(name))


def folders(folder: str) -> list[str]:
    """Return the sorted names of the folders in a folder; none if it does not exist."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not is_left_behind(entry.name) and entry.is_dir())


def files(folder: str, suffixes: Sequence[str]) -> list[str]:
    """Return the sorted names of the files in a folder with one of the suffixes, in upper or lower case."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.lower().endswith(tuple(suffixes))
                      and not is_left_behind(entry.name) and entry.is_file())


def walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what `os.walk` does, but raise OSError for a folder that cannot be read; `os.walk` skips it."""
    def fail(error: OSError) -> None:
        raise error

    return os.walk(folder, onerror=fail)


def in_frame_order(paths: Sequence[str]) -> list[str]:
    """Sort by the numbers in the names: frame 2 precedes frame 10, with or without leading zeros.

    Digits after a decimal point are a fraction, as in time stamps: 7.05, 7.1345, 7.5. They are integers if they are
    consecutive, as in shot1.9, shot1.10, shot1.11.
    """
    numbers = frame_numbers(paths)
    if numbers is not None:
        return [path for _, path in sorted(zip(numbers, paths))]
    return sorted(paths, key=_natural_order)


def frame_numbers(paths: Sequence[str]) -> list[int] | None:
    """Return the numbers of frames that are named by a common prefix and a number, None for any other names."""
    matches = [_LAST_NUMBER.fullmatch(stem_of(path)) for path in paths]
    prefixes = {match.group(1) if match else None for match in matches}
    if len(prefixes) != 1 or None in prefixes:
        return None
    numbers = [int(match.group(2)) for match in matches if match]
    if _FRACTION.fullmatch(next(iter(prefixes)) or "") and sorted(numbers) != list(
            range(min(numbers), min(numbers) + len(numbers))):
        return None
    return numbers


def stem_of(path: str) -> str:
    """Return the name of a file without its suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def _natural_order(path: str) -> tuple:
    parts: list = _NUMBERS.split(stem_of(path))
    for index in range(1, len(parts), 2):  # every second part is a number
        whole, _, fraction = parts[index].partition(".")
        parts[index] = (int(whole), fraction.rstrip("0"))  # digits of fractions compare as text
    return parts, stem_of(path), os.path.basename(path)
