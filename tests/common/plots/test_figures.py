"""What figures say: titles, labels, legends and sizes; not their pixels."""
from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from common.checkpoints.trained import Checkpoint
from common.plots import figures
from common.run import curves
from common.run.report import RunSummary
from tests.common.run.test_metrics import file_of
from tests.figures import legend_of, size_of
from tests.programs import run_python, tree

pytest.importorskip("matplotlib")


def test_curves_are_panels_below_each_other_with_integer_steps(tmp_path, saved_figures):
    file = file_of(tmp_path)
    for step in range(1, 41):
        file.append("step", step, dict(loss=1.0 / step))
    file.append("eval", 40, dict(accuracy=0.5))
    file.append("final", 40, dict(accuracy=0.5))
    file.close()
    panels = {"loss": [("step", "loss", "training batch"), ("step", "loss", "again"),
                       ("eval", "valid_loss", "validation")],
              "accuracy": [("eval", "accuracy", "test")], "never measured": [("eval", "x", "x")]}
    arguments = dict(identity=dict(model="model", recipe="recipe"), curves=panels)
    curves.draw(RunSummary(str(tmp_path), arguments, 40, "finished", {}, dict(accuracy=0.5), 0.0), ": accuracy 0.5")
    figure = saved_figures["curves.png"]
    assert figure._suptitle.get_text() == "model, recipe, step 40: accuracy 0.5"
    assert size_of(figure) == [800, 700]
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss", "accuracy"]
    assert [legend_of(axis) for axis in figure.axes] == [["training batch = again"], ["test"]]  # none without points
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    for axis in figure.axes:
        assert axis.get_xlabel() == "updates" and all(tick == int(tick) for tick in axis.get_xticks())
    line, points = figure.axes[0].get_lines()  # the smoothed line, and faint points of its colour
    assert points.get_alpha() < 0.5 and line.get_color() == points.get_color()


def test_smoothing_keeps_the_mean_and_skips_values_that_are_not_finite():
    values = np.ones(100)
    values[50] = math.nan
    values[60] = math.inf
    np.testing.assert_allclose(figures.smoothed(values), 1.0)
    noisy = np.random.RandomState(0).normal(size=400)
    assert figures.smoothed(noisy).std() < 0.4 and len(figures.smoothed(noisy)) == 400
    np.testing.assert_allclose(figures.smoothed(np.arange(5.0)), [0.5, 1, 2, 3, 3.5])


def test_a_roc_has_a_logarithmic_axis_its_area_and_chance(tmp_path, saved_figures):
    rates = np.array([0.0, 0.0, 0.01, 0.5, 1.0]), np.array([0.0, 0.4, 0.8, 0.95, 1.0])
    figures.draw_roc(figures.plotting(), str(tmp_path / "roc.png"), "a title", rates, 0.9)
    (axis,) = saved_figures["roc.png"].axes
    assert axis.get_xscale() == "log" and axis.get_xlim() == (0.005, 1.0)
    assert legend_of(axis) == ["AUC 0.9000", "chance"] and axis.get_title() == "a title"
    assert "false accept rate" in axis.get_xlabel() and "true accept rate" in axis.get_ylabel()
    curve, chance = axis.get_lines()
    assert min(curve.get_xdata()) > 0 and np.array_equal(chance.get_xdata(), chance.get_ydata())
    assert size_of(saved_figures["roc.png"]) == [800, 500]


DRAW_AND_LEAVE = """
import os, sys
from common.plots import figures
figure, axis = figures.plotting().subplots()
axis.set_title(figures.drawable("a $title"))
figures.save_figure(figure, sys.argv[1])
os._exit("MPLCONFIGDIR" in os.environ)
"""


def test_nothing_but_the_picture_is_written_even_by_a_process_that_does_not_clean_up(tmp_path):
    (tmp_path / "home").mkdir()
    result = run_python("-c", DRAW_AND_LEAVE, tmp_path / "new" / "picture.png", HOME=str(tmp_path / "home"),
                        TMPDIR=str(tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tree(tmp_path)) == [str(tmp_path / "new" / "picture.png")]
    assert sorted(os.listdir(str(tmp_path))) == ["home", "new"] and not os.listdir(str(tmp_path / "home"))


def test_titles_say_model_recipe_step_and_result(tmp_path):
    identity = dict(model="gitloss_tf1", recipe="corrected")
    (tmp_path / "arguments.json").write_text(json.dumps(dict(
        identity=identity, num_updates=12, performance=False, started="20261126-120000", segments=[], threads=1)))
    checkpoint = Checkpoint(str(tmp_path / "ckpt" / "model.ckpt-12"), str(tmp_path), str(tmp_path / "evaluate"))
    assert checkpoint.title("EER 0.1") == "gitloss_tf1, corrected, step 12: EER 0.1"
    assert Checkpoint("/a/weights", None, "/a").title("EER 0.1") == "weights: EER 0.1"


def test_colours_differ_in_lightness_and_no_figure_stays_open(tmp_path):
    pyplot = figures.plotting()
    colours = pyplot.rcParams["axes.prop_cycle"].by_key()["color"]
    assert len(set(colours)) == 7
    figure, _ = pyplot.subplots()
    figures.save_figure(figure, str(tmp_path / "a.png"))
    assert not pyplot.get_fignums()
