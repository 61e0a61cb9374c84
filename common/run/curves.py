"""curves.png of a run."""
from __future__ import annotations

import os

from common.plots import figures
from common.run import metrics
from common.run.summary import RunSummary

MAX_POINTS = 4000  # per curve


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


def draw(run: RunSummary) -> None:
    """Draw curves.png in a run directory, with the panels that its arguments.json lists; warn without matplotlib."""
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
    figure, axes = pyplot.subplots(len(drawn), 1, figsize=(figures.WIDTH, 1 + 3 * len(drawn)), squeeze=False)
    figure.suptitle(_title(run))
    for axis, (panel, curves) in zip(axes[:, 0], drawn.items()):
        for curve in curves:
            figures.plot_curve(axis, points[curve].steps, points[curve].values, curve.label, curve.kind == "step")
        axis.set_ylabel(panel)
        figures.whole_steps(axis)
        axis.legend()
    figures.save_figure(figure, os.path.join(run.path, "curves.png"))


def _title(run: RunSummary) -> str:
    title = f"{run.model}, {run.recipe}: step {run.step}"
    if not run.final:
        return title
    return f"{title}, final accuracy {metrics.format_number(run.final['accuracy'], 4)}"
