"""What programs that use a trained model take and give: files that flags name, and results.

A result is written as JSON, and printed in lines or, with --json, as JSON.
"""
from __future__ import annotations

import os
import sys
from typing import Any, Iterable, Mapping, Sequence

from common import atomic_files, console
from common.cli.parser import Group
from common.cli.shared_flags import candidates, find_path
from common.errors import FlagError, ZooError


def define_background(group: Group) -> None:
    """Define --background."""
    group.choice("background", "white", ["white", "black"], "Background of transparent images.")


def find_paths(name: str, values: Sequence[str], model_root: str) -> list[str]:
    """Return the paths that a flag names, see `find_path`; a value that does not exist is divided at its commas."""
    parts: list[str] = []
    for value in values:
        is_path = any(map(os.path.exists, candidates(value, model_root)))
        parts += [value] if is_path else filter(None, value.split(","))
    if not parts:
        raise FlagError(f"--{name}={','.join(values)}: names no path")
    return [find_path(name, part, model_root) for part in parts]


def find_files(name: str, values: Sequence[str], model_root: str) -> list[str]:
    """Find the files that a flag names; errors as `find_path`, and for a folder."""
    paths = find_paths(name, values, model_root)
    for path in filter(os.path.isdir, paths):
        raise ZooError(f"--{name}: {path} is a folder, expected a file")
    return paths


def show(result: Mapping[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print a result in lines, or as one JSON object."""
    print(atomic_files.to_json(result) if as_json else console.fold("\n".join(lines), sys.stdout))


def report(path: str, result: Mapping[str, Any], lines: Iterable[str], as_json: bool, beside: Iterable[str] = ()
           ) -> None:
    """Write a result to a file and print it; the last line names the file, and others written beside it."""
    atomic_files.write_json(path, result)
    show(result, [*lines, written(path, *beside)], as_json)


def of_queries(result: Mapping[str, Any], queries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add to a result what was found for a query; for several, a list of that under `queries`."""
    return {**result, **(queries[0] if len(queries) == 1 else dict(queries=queries))}


def written(*paths: str) -> str:
    """The line that names the files a program has written: "Written: A, B and C"."""
    return f"Written: {' and '.join(filter(None, [', '.join(paths[:-1]), paths[-1]]))}"
