"""What programs do with a result: write it as JSON, and print it in lines or, with --json, as JSON."""
from __future__ import annotations

import sys
from typing import Any, Iterable, Mapping, Sequence

from common import atomic_files, console


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
