"""Compare runs of Git loss over the weights of its terms: accuracy and distances by lambda_c and lambda_g.

    python3 gitloss_tf1/lambdas.py --runs=FOLDER,... [--picture=FILE.png]

Prints a Markdown table of the last evaluation of every finished run in the folders, and draws it. The runs must agree
in everything but `--lambda_c` and `--lambda_g`.
"""
from __future__ import annotations

import os
import sys
from typing import Mapping, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.cli import inference, program
from common.cli.parser import FlagSet
from common.errors import ZooError

ROOT = os.path.dirname(os.path.abspath(__file__))
# columns of the table by key, with their formats; distances are between points of the feature plane
_COLUMNS = {"lambda_c": ("lambda_c", "g"), "lambda_g": ("lambda_g", "g"),
            "valid_accuracy": ("validation accuracy", ".4f"), "test_accuracy": ("test accuracy", ".4f"),
            "inter": ("between classes", ".2f"), "intra": ("within classes", ".3f"), "ratio": ("ratio", ".1f")}
_PANELS = {"valid_accuracy": "validation accuracy", "inter": "distance between classes",
           "intra": "distance within classes", "ratio": "between / within"}
Row = Mapping[str, float]  # the last evaluation of a run


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Print the table; return the exit status."""
    flag_set = FlagSet(__doc__ or "")
    flag_set.data.paths("runs", "Run directories, or folders that hold some.")
    flag_set.evaluation.string("picture", None, "PNG file for the picture.")
    flags = flag_set.parse(arguments)
    rows, title = read(inference.find_paths("runs", flags.runs, ROOT))
    print(table(rows))
    if flags.picture:
        draw(os.path.abspath(os.path.expanduser(flags.picture)), rows, title)
    return 0


def read(folders: Sequence[str]) -> tuple[list[Row], str]:
    """Return the results of the finished runs in folders, by rising weights, and a title.

    Raises ZooError if no run is finished, or the runs differ in more than the two weights.
    """
    from common.run import report

    rows, shared, first = [], None, ""
    for path in (path for folder in folders for path in report.find_runs(folder)):
        run = report.summarise(path)
        if run.state != "finished" or not run.evaluation:
            continue
        identity, values = dict(run.arguments["identity"]), run.evaluation
        weights = {key: identity.pop(key, None) for key in ("lambda_c", "lambda_g")}
        if None in weights.values() or "valid_accuracy" not in values:
            raise ZooError(f"{path}: is not a complete run of Git loss")
        settings = (identity, run.step)
        if shared not in (None, settings):
            raise ZooError(f"{path}: differs from {first} in more than lambda_c and lambda_g; `zoo compare` shows how")
        shared, first = settings, first or path
        inter, intra = values["inter_cls_dist_current"], values["intra_cls_dist"]
        rows.append(dict(weights, valid_accuracy=values["valid_accuracy"], test_accuracy=values["test_accuracy"],
                         inter=inter, intra=intra, ratio=inter / intra))
    if shared is None:
        raise ZooError(f"{', '.join(folders)}: no finished run of Git loss")
    rows.sort(key=lambda row: (row["lambda_c"], row["lambda_g"]))
    return rows, f"Git loss, {shared[0].get('recipe')}, step {shared[1]}: weights of the terms"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [f"| {' | '.join(title for title, _ in _COLUMNS.values())} |", "|---" * len(_COLUMNS) + "|"]
    lines += [f"| {' | '.join(format(row[key], form) for key, (_, form) in _COLUMNS.items())} |" for row in rows]
    return "\n".join(lines)


def draw(path: str, rows: Sequence[Row], title: str) -> None:
    """Draw accuracy and distances over lambda_g, a line for each lambda_c, into a PNG."""
    from common.plots import figures

    pyplot = figures.plotting()
    if pyplot is None:
        return
    figure, axes = pyplot.subplots(2, 2, figsize=(figures.WIDTH, figures.WIDTH * 0.75))
    figure.suptitle(figures.wrapped(title))
    ticks = sorted({row["lambda_g"] for row in rows})
    for axis, (name, label) in zip(axes.flat, _PANELS.items()):
        for weight in sorted({row["lambda_c"] for row in rows}):
            chosen = [row for row in rows if row["lambda_c"] == weight]
            axis.plot([ticks.index(row["lambda_g"]) for row in chosen], [row[name] for row in chosen], marker="o",
                      label=f"lambda_c {weight:g}")
        axis.set_xticks(range(len(ticks)))
        axis.set_xticklabels([f"{tick:g}" for tick in ticks])
        axis.set_xlabel("lambda_g")
        axis.set_ylabel(label)
        if name in ("inter", "intra"):  # without the center term they are many times larger
            axis.set_yscale("log")
    axes.flat[1].legend()
    figures.save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
