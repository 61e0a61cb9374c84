"""What the programs of `make docs` share: translations, tables between markers, pages that are written or checked."""
from __future__ import annotations

import json
import os
import sys
from typing import Callable, Iterable, Mapping

FOLDER = os.path.dirname(os.path.abspath(__file__))


class Chinese:
    """Translates English texts by a catalogue.

    Attributes:
        used: the texts that were asked for.
    """

    def __init__(self, name: str):
        """Read a catalogue, a file in docs/."""
        self._path = os.path.join(FOLDER, name)
        with open(self._path, encoding="utf-8") as file:
            self._texts = json.load(file)
        self.used: dict[str, None] = {}  # in order

    def __call__(self, text: str) -> str:
        self.used[text] = None
        return self._texts.get(text, text)

    def problems(self, needs_one: Callable[[str], bool]) -> Iterable[str]:
        """Yield what the catalogue lacks of the texts that need a translation, and what it has in vain."""
        for text in self.used:
            if text not in self._texts and needs_one(text):
                yield f"{self._path}: no translation of {text!r}"
        for text in self._texts:
            if text not in self.used:
                yield f"{self._path}: nothing says {text!r}"


def replaced(path: str, name: str, table: str) -> str:
    """Return the content of a page with another table between the markers of a name."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    with open(path, encoding="utf-8") as file:
        head, _, rest = file.read().partition(begin)
    return head + begin + table + end + rest.partition(end)[2]


def finish(pages: Mapping[str, str], problems: Iterable[str]) -> int:
    """Write pages, or with --check find the stale ones; print all problems, and return 1 if there are some."""
    found = list(problems)
    for path, text in pages.items():
        if "--check" not in sys.argv:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            continue
        with open(path, encoding="utf-8") as file:
            if file.read() != text:
                found.append(f"{path}: stale, run 'make docs'")
    for problem in found:
        print(problem)
    return 1 if found else 0
