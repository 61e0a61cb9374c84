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
