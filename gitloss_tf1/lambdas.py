"""Compare runs of Git loss over the weights of its terms: accuracy and distances by lambda_c and lambda_g.

    python3 gitloss_tf1/lambdas.py --runs=FOLDER,... [--picture=FILE.png]

Prints a Markdown table of the last evaluation of every finished run in the folders, and draws it. The runs must agree
in everything but `--lambda_c` and `--lambda_g`.
"""
from __future__ import annotations

import os
import sys
from typing import NamedTuple, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.errors import ZooError

ROOT = os.path.dirname(os.path.abspath(__file__))
_PANELS = {"valid_accuracy": "validation accuracy", "inter": "distance between classes",
           "intra": "distance within classes", "ratio": "between / within"}


class Row(NamedTuple):
    """The last evaluation of a run; distances are between points of the feature plane."""

    lambda_c: float
    lambda_g: float
    valid_accuracy: float
    test_accuracy: float
    inter: float  # mean distance between two class centers
    intra: float  # mean distance of a sample from its class center
    ratio: float  # inter / intra


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Print the table; return the exit status."""
    flag_set = FlagSet(__doc__ or "")
    flag_set.data.paths("runs", "Run directories, or folders that hold some.")
    flag_set.evaluation.string("picture", None, "PNG file for the picture.")
    flags = flag_set.parse(arguments)
    rows, title = read(shared_flags.find_paths("runs", flags.runs, ROOT))
    print(table(rows))
    if flags.picture:
        draw(os.path.abspath(os.path.expanduser(flags.picture)), rows, title)
    return 0


def read(folders: Sequence[str]) -> tuple[list[Row], str]:
    """Return the results of the finished runs in folders, by rising weights, and a title.

    Raises:
        ZooError: no run is finished, or the runs differ in more than the two weights.
    """
    from common.run import summary

    rows, shared, first = [], None, ""
    for path in (path for folder in folders for path in summary.find_runs(folder)):
        run = summary.summarise(path)
        if run.state != "finished" or not run.evaluation:
            continue
        identity, values = dict(run.arguments["identity"]), run.evaluation
        weights = [identity.pop("lambda_c", None), identity.pop("lambda_g", None)]
        if None in weights or "valid_accuracy" not in values:
            raise ZooError(f"{path}: is not a complete run of Git loss")
        settings = (identity, run.step)
        if shared not in (None, settings):
            raise ZooError(f"{path}: differs from {first} in more than lambda_c and lambda_g; `zoo compare` shows how")
        shared, first = settings, first or path
        inter, intra = values["inter_cls_dist_current"], values["intra_cls_dist"]
        rows.append(Row(*weights, values["valid_accuracy"], values["test_accuracy"], inter, intra, inter / intra))
    if shared is None:
        raise ZooError(f"{', '.join(folders)}: no finished run of Git loss")
    return sorted(rows), f"Git loss, {shared[0].get('recipe')}, step {shared[1]}: weights of the terms"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| lambda_c | lambda_g | validation accuracy | test accuracy | between classes | within classes | ratio |",
             "|---|---|---|---|---|---|---|"]
    lines += [f"| {row.lambda_c:g} | {row.lambda_g:g} | {row.valid_accuracy:.4f} | {row.test_accuracy:.4f} | "
              f"{row.inter:.2f} | {row.intra:.3f} | {row.ratio:.1f} |" for row in rows]
    return "\n".join(lines)


def draw(path: str, rows: Sequence[Row], title: str) -> None:
    """Draw accuracy and distances over lambda_g, a line for each lambda_c, into a PNG."""
    from common.plots import figures

    pyplot = figures.plotting()
    if pyplot is None:
        return
    figure, axes = pyplot.subplots(2, 2, figsize=(figures.WIDTH, figures.WIDTH * 0.75))
    figure.suptitle(figures.wrapped(title))
    ticks = sorted({row.lambda_g for row in rows})
    for axis, (name, label) in zip(axes.flat, _PANELS.items()):
        for weight in sorted({row.lambda_c for row in rows}):
            chosen = [row for row in rows if row.lambda_c == weight]
            axis.plot([ticks.index(row.lambda_g) for row in chosen], [getattr(row, name) for row in chosen],
                      marker="o", label=f"lambda_c {weight:g}")
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
