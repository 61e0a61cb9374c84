"""Compare two tables of all benchmarks: python3 -m benchmarks.compare OLD.json [NEW.json].

NEW is the newest in .bench/ by default. For each number: the medians, the change, and the noise, which is the largest
distance of a measurement from its median, old and new added up. A change within the noise is in parentheses.
"""
from __future__ import annotations

import glob
import json
import os
import statistics
import sys
from typing import Any, Mapping, Sequence

from benchmarks import measuring
from benchmarks.__main__ import COLUMNS, FOLDER
from common.cli import program
from common.errors import FlagError, ZooError


def main(arguments: list[str]) -> int:
    """Print the comparison; return the exit status."""
    return program.run(lambda stop: _main(arguments))


def _main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        raise FlagError("usage: python3 -m benchmarks.compare OLD.json [NEW.json]")
    newest = sorted(set(glob.glob(os.path.join(glob.escape(FOLDER), "*.json"))), key=os.path.getmtime)[-1:]
    if not [*arguments[1:], *newest]:
        raise ZooError(f"{FOLDER}: no measurements to compare with; make bench first")
    print("\n".join(lines(_read(arguments[0]), _read([*arguments[1:], *newest][0]))))
    return 0


def _read(path: str) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)["rows"]
    except FileNotFoundError:
        raise ZooError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError):
        raise ZooError(f"{path}: not written by make bench") from None


def lines(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table with the change of every row that both have."""
    earlier = {(row["model"], row["device"]): row for row in old}
    changes = []
    for row in new:
        before = earlier.get((row["model"], row["device"]))
        if before:
            changes.append({key: value if not isinstance(value, list) else change(before.get(key), value)
                            for key, value in row.items()})
    if not changes:
        raise ZooError("the two have no model and device in common")
    return measuring.table([(title, key, "{}") for title, key, _ in COLUMNS], changes)


def change(old: Sequence[float] | None, new: Sequence[float]) -> str | None:
    """Describe the change between repeated measurements; None without old ones."""
    if not old:
        return None
    before, after = statistics.median(old), statistics.median(new)
    relative = after / before - 1.0
    if min(len(old), len(new)) < 2:
        return f"{before:.4g} -> {after:.4g}, {relative:+.1%}, noise unknown"
    noise = sum(max(abs(value / median - 1.0) for value in values) for values, median in ((old, before), (new, after)))
    text = f"{relative:+.1%}, noise {noise:.1%}"
    return f"{before:.4g} -> {after:.4g}, " + (text if abs(relative) > noise else f"({text})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
