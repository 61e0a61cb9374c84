"""The table of docs/robustness.md in its two languages, in which rows are replaced by those measured anew."""
from __future__ import annotations

import os
import re
from typing import NamedTuple

from tests import ROOT

PAGES = ("docs/robustness.md", "docs/robustness.zh-CN.md")
HEADS = ("| subject | what was done | tried | survived | lost | measured |",
         "| 对象 | 做了什么 | 尝试 | 经受 | 失败 | 测于 |")
SUBJECTS = {  # the names that tests use: those of the pages
    "circleloss": "Circle loss", "gitloss": "Git loss", "sa_siam": "SA-Siam", "siamese_triplet": "triplet network",
    "siamese_omniglot": "Omniglot", "circleloss_tf1": "Circle loss", "gitloss_tf1": "Git loss",
    "sa_siam_tf1": "SA-Siam", "siamese_triplet_tf2": "triplet network"}
CHINESE_SUBJECTS = {"all models": "全部模型", "readers": "读取器", "triplet network": "三元组网络"}


class Row(NamedTuple):
    """What was done to a subject, and how often it ended as it should."""

    subject: str
    what: tuple  # in English and in Chinese
    tried: int
    lost: int

    def line(self, language: int, measured: str) -> str:
        """Return the row in Markdown; `language` is the index of one of PAGES."""
        subject = SUBJECTS.get(self.subject, self.subject)
        subject = CHINESE_SUBJECTS.get(subject, subject) if language else subject
        cells = (subject, self.what[language], self.tried, self.tried - self.lost, self.lost, measured)
        return f"| {' | '.join(map(str, cells))} |"


def add_up(rows: list[Row]) -> list[Row]:
    """Return one row for all those of the same subject and deed."""
    sums: dict = {}
    for row in rows:
        tried, lost = sums.get(row[:2], (0, 0))
        sums[row[:2]] = tried + row.tried, lost + row.lost
    return [Row(*subject_and_what, *found) for subject_and_what, found in sums.items()]


def render(rows: list[Row], measured: str) -> str:
    """Return the rows as a table in English."""
    return "\n".join([HEADS[0], "|---|---|---|---|---|---|", *(row.line(0, measured) for row in rows)])


def update_pages(rows: list[Row], measured: str) -> None:
    """Replace or append rows in the tables of both pages. Rows are the same if they differ in numbers alone."""
    for language, page in enumerate(PAGES):
        path = os.path.join(ROOT, page)
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
        begin = lines.index(HEADS[language]) + 2
        end = next(index for index in range(begin, len(lines)) if not lines[index].startswith("|"))
        table = {_key(line): line for line in lines[begin:end]}
        table.update((_key(line), line) for line in (row.line(language, measured) for row in rows))
        lines[begin:end] = table.values()
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))


def _key(line: str) -> str:
    """Subject and deed of a line, without numbers."""
    return re.sub(r"\d+", "", "|".join(line.split("|")[1:3]))
