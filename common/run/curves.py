"""curves.png of a run; comparison of several runs: settings, metrics and curves."""
from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

from common.plots import figures
from common.run import metrics
from common.run.report import RunSummary

MAX_POINTS = 4000  # per curve
_MAX_CELL_LENGTH = 24
_NOT_DRAWN = ("step", "epoch", *metrics.BOOKKEEPING)


class Points:
    """Every n-th point of a curve; n doubles whenever there are too many points."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []
        self._stride, self._count = 1, 0

    def add(self, step: int, value: float) -> None:
        if self._count % self._stride == 0:
            self.steps.append(step)
            self.values.append(value)
            if len(self.steps) > MAX_POINTS:
                self._stride *= 2
                del self.steps[1::2], self.values[1::2]
        self._count += 1


def draw(run: RunSummary, result: str = "") -> None:
    """Draw curves.png of a run, with the panels that its arguments.json lists; `result` is the end of the title."""
    panels = {panel: [metrics.Curve(*curve) for curve in curves]
              for panel, curves in run.arguments.get("curves", {}).items()}
    points = {curve: Points() for curves in panels.values() for curve in curves}
    for row in metrics.read_rows(run.path):
        for curve, of_curve in points.items():
            if row["kind"] == curve.kind and curve.key in row:
                of_curve.add(row["step"], row[curve.key])
    drawn = {panel: [curve for curve in curves if points[curve].steps] for panel, curves in panels.items()}
    drawn = {panel: curves for panel, curves in drawn.items() if curves}
    pyplot = figures.plotting() if drawn else None
    if pyplot is None:
        return
    figure, axes = pyplot.subplots(len(drawn), 1, figsize=(figures.WIDTH, 1 + 3 * len(drawn)), squeeze=False,
                                  sharex=True)
    figure.suptitle(f"{run.model}, {run.recipe}, step {run.step}{result}")
    for axis, (panel, curves) in zip(axes[:, 0], drawn.items()):
        equal: dict[tuple, list[metrics.Curve]] = {}  # such as the total loss and its only term
        for curve in curves:
            equal.setdefault((*points[curve].steps, *points[curve].values), []).append(curve)
        for same in equal.values():
            steps, values = points[same[0]].steps, points[same[0]].values
            figures.plot_curve(axis, steps, values, " = ".join(curve.label for curve in same), same[0].kind == "step")
        axis.set_ylabel(panel)
        axis.tick_params(labelbottom=True)
        figures.whole_steps(axis)
        axis.legend()
    figures.save_figure(figure, os.path.join(run.path, "curves.png"))


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


def draw_together(path: str, runs: Mapping[str, RunSummary]) -> bool:
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
