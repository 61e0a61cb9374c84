"""Comparison of several runs: settings, metrics and curves."""
from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

from common.plots import figures
from common.run import metrics
from common.run.curves import Points
from common.run.summary import RunSummary

_MAX_CELL_LENGTH = 24
_NOT_DRAWN = ("step", "epoch", *metrics.BOOKKEEPING)


def differing_settings(runs: Sequence[RunSummary]) -> list[tuple[str, ...]]:
    """Return a row for each setting that differs between the runs: its name and its values."""
    settings = [dict(run.arguments["identity"], num_updates=run.arguments["num_updates"],
                     **{f"--{name}": value for name, value in run.arguments["flags"].items()
                        if name not in run.arguments["identity"]}) for run in runs]
    names = sorted(set().union(*settings))
    rows = []
    for name in names:
        values = [setting.get(name) for setting in settings]
        if any(value != values[0] for value in values):
            rows.append((name, *map(_cell, values)))
    return rows or [("(all the same)", *("" for _ in runs))]


def metric_rows(runs: Sequence[RunSummary]) -> list[tuple[str, ...]]:
    """Return a row for each number of the last evaluations and the final rows: its name and its values."""
    values: list[dict[str, Any]] = [dict(run.evaluation, **run.final) for run in runs]
    names = [name for name in dict.fromkeys(name for value in values for name in value)
             if name not in metrics.BOOKKEEPING and any(metrics.is_number(value.get(name)) for value in values)]
    return [(name, *(_cell(value.get(name)) for value in values)) for name in names]


def draw(path: str, runs: Mapping[str, RunSummary]) -> bool:
    """Draw the curves of runs, by their label, into common panels of a PNG; return whether it was written."""
    pyplot = figures.plotting(print)
    if pyplot is None:
        return False
    curves: dict[tuple[str, str], dict[str, Points]] = {}
    for label, run in runs.items():
        for row in metrics.read_rows(run.path):
            for key in row:
                if row["kind"] != "final" and metrics.is_number(row[key]) and key not in _NOT_DRAWN:
                    by_label = curves.setdefault((row["kind"], key), {})
                    by_label.setdefault(label, Points()).add(row["step"], row[key])
    shared = {name: by_label for name, by_label in curves.items()
              if len(by_label) > 1 and not name[1].endswith("seconds")}
    if not shared:
        return False
    columns = min(2, len(shared))
    rows = -(-len(shared) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(figures.WIDTH * columns / 1.5, 3.4 * rows), squeeze=False)
    figure.suptitle("\n".join(f"{label}: {_title(run)}" for label, run in runs.items()))
    for axis, ((kind, key), by_label) in zip(axes.flat, shared.items()):
        for label, points in by_label.items():
            figures.plot_curve(axis, points.steps, points.values, label, kind == "step")
        axis.set_title(f"{key} ({'evaluation' if kind == 'eval' else 'training batch'})")
        figures.whole_steps(axis)
        axis.legend()
    for axis in list(axes.flat)[len(shared):]:
        axis.remove()
    figures.save_figure(figure, path)
    return True


def _title(run: RunSummary) -> str:
    folder, name = os.path.split(os.path.abspath(run.path))
    return f"{run.model}, {run.recipe}, step {run.step} ({os.path.basename(folder)}/{name})"


def _cell(value: Any) -> str:
    text = "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MAX_CELL_LENGTH else f"{text[:_MAX_CELL_LENGTH - 3]}..."
