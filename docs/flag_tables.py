"""Write the flag tables of the models' READMEs from the code: make docs. With --check, say which are stale.

The tables stand between two markers. The Chinese of every English text is in flags.zh-CN.json.
"""
from __future__ import annotations

import glob
import importlib
import json
import os
import re
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.cli.parser import REQUIRED, FlagSet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CATALOGUE = os.path.join(ROOT, "docs", "flags.zh-CN.json")
BEGIN, END = "<!-- flags:begin -->\n", "<!-- flags:end -->"


class Language:
    """How a language writes a flag table.

    Attributes:
        used: the translation of every text that was asked for, empty where there is none.
    """

    def __init__(self, header: str, brackets: str, comma: str, one_of: str, catalogue: dict[str, str] | None = None):
        self.used: dict[str, str] = {}
        self._header, self._brackets, self._comma, self._one_of = header, brackets, comma, one_of
        self._catalogue = catalogue

    def table(self, flags: FlagSet) -> str:
        """The Markdown table of a program's flags."""
        lines = [f"| {self._header} |", "|---|---|---|"]
        for group in flags.groups:
            if group.defaults:
                lines.append(f"| **{self._translate(group.title)}** | | |")
            lines += [self._row(flags, name, default if group is not flags.ignored else "")
                      for name, default in group.defaults.items()]
        return "\n".join(lines) + "\n"

    def _row(self, flags: FlagSet, name: str, default: str) -> str:
        aliases = self._comma.join(f"`{alias}`" for alias in flags.aliases(name))
        shown = f"`{name}`" + (self._brackets.format(aliases) if aliases else "")
        is_text = " " in default or default in ("none", REQUIRED)
        meaning = self._translate(flags.values[name].help)
        choices = getattr(flags.values[name].parser, "enum_values", ())
        if choices:
            meaning += self._one_of.format(self._comma.join(f"`{choice}`" for choice in choices))
        return f"| {shown} | {self._translate(default) if is_text else default} | {meaning} |"

    def _translate(self, text: str) -> str:
        self.used[text] = text if self._catalogue is None else self._catalogue.get(text, "")
        return self.used[text].replace("|", "\\|").replace("<", "\\<")


def train_flags() -> dict[str, FlagSet]:
    """The flags of every train entry, by the folder of its model."""
    flags = {}
    for script in sorted(glob.glob(os.path.join(ROOT, "*", "test", "train_full_1p.sh"))):
        with open(script, encoding="utf-8") as file:
            entry = re.findall(r"^train_1p (\S+)\.py", file.read(), re.MULTILINE)[0]
        model = os.path.dirname(os.path.dirname(script))
        module = importlib.import_module(f"{os.path.basename(model)}.{entry.replace('/', '.')}")
        flags[model] = module.define_flags()
    return flags


def main() -> int:
    """Write the tables, or check them; return 1 if they are stale or the catalogue does not fit."""
    with open(CATALOGUE, encoding="utf-8") as file:
        catalogue = json.load(file)
    english = Language("flag | default | meaning", " ({})", ", ", " One of {}.")
    chinese = Language("参数 | 默认值 | 含义", "（{}）", "、", "可取 {}。", catalogue)
    problems = []
    for model, flags in train_flags().items():
        for name, language in (("README.md", english), ("README.zh-CN.md", chinese)):
            path = os.path.join(model, name)
            with open(path, encoding="utf-8") as file:
                page = file.read()
            start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
            written = page[:start] + language.table(flags) + page[end:]
            if written != page and "--check" in sys.argv:
                problems.append(f"{path}: the flag table is stale, run 'make docs'")
            elif written != page:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(written)
    problems += [f"{CATALOGUE}: no translation of {text!r}" for text, chosen in chinese.used.items() if not chosen]
    problems += [f"{CATALOGUE}: no flag says {text!r}" for text in catalogue if text not in chinese.used]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
