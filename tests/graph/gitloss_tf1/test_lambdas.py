"""The comparison of runs with different weights of the terms."""
from __future__ import annotations

import json

import pytest

from gitloss_tf1 import lambdas
from tests.figures import size_of
from tests.programs import error_line


@pytest.fixture
def make_run(tmp_path):
    def make(name, weights, evaluation, steps=5, **identity):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        identity = dict(identity, model="gitloss_tf1", lambda_c=weights[0], lambda_g=weights[1])
        (folder / "arguments.json").write_text(json.dumps(dict(
            identity=identity, num_updates=steps, performance=False, started="20261126-120000", segments=[], threads=1,
            flags={})))
        rows = [dict(kind="eval", step=steps, seconds=1, **evaluation), dict(kind="final", step=steps, seconds=1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return make


def _evaluation(valid, test, inter, intra):
    return dict(valid_accuracy=valid, test_accuracy=test, inter_cls_dist_current=inter, intra_cls_dist=intra,
                inter_cls_dist=99.0)


def test_the_table_has_a_row_for_each_pair_of_weights(tmp_path, make_run, capfd, saved_figures):
    make_run("b", (1.0, 0.5), _evaluation(0.75, 0.5, 12.0, 0.25), recipe="corrected")
    make_run("a", (0.0, 0.5), _evaluation(0.5, 0.25, 9.0, 3.0), recipe="corrected")
    make_run("c", (0.0, 0.0), _evaluation(0.25, 0.125, 8.0, 4.0), recipe="corrected")
    assert lambdas.main([f"--runs={tmp_path / 'runs'}", f"--picture={tmp_path / 'lambdas.png'}"]) == 0
    assert capfd.readouterr().out.splitlines()[2:] == [
        "| 0 | 0 | 0.2500 | 0.1250 | 8.00 | 4.000 | 2.0 |",
        "| 0 | 0.5 | 0.5000 | 0.2500 | 9.00 | 3.000 | 3.0 |",
        "| 1 | 0.5 | 0.7500 | 0.5000 | 12.00 | 0.250 | 48.0 |"]
    figure = saved_figures["lambdas.png"]
    assert figure._suptitle.get_text() == "Git loss, corrected, step 5: weights of the terms"
    assert [axis.get_ylabel() for axis in figure.axes] == ["validation accuracy", "distance between classes",
                                                           "distance within classes", "between / within"]
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "log", "log", "linear"]
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[3].lines}
    assert lines == {"lambda_c 0": ([0, 1], [2.0, 3.0]), "lambda_c 1": ([1], [48.0])}
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0", "0.5"]
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["lambda_c 0", "lambda_c 1"]
    assert size_of(figure) == [800, 600]


@pytest.mark.parametrize("other, expected", [
    (dict(recipe="reference"), "differs from"), (dict(recipe="corrected", steps=6), "differs from"), (None, None)])
def test_runs_must_agree_in_everything_else(tmp_path, make_run, capfd, other, expected):
    make_run("a", (0.0, 0.0), _evaluation(0.5, 0.25, 9.0, 3.0), recipe="corrected")
    if other is not None:
        make_run("b", (0.0, 1.0), _evaluation(0.5, 0.25, 9.0, 3.0), **other)
    assert lambdas.main([f"--runs={tmp_path / 'runs'}"]) == (1 if expected else 0)
    if expected:
        assert expected in error_line(capfd)


def test_a_folder_without_runs_is_an_error(tmp_path, capfd):
    assert lambdas.main([f"--runs={tmp_path}"]) == 1
    assert "no finished run of Git loss" in error_line(capfd)
