"""The benchmarks: what they compute from what they measure."""
from __future__ import annotations

import json
import os
import re

import pytest

from benchmarks import __main__ as all_benchmarks
from benchmarks import compare, host, measuring
from common.errors import FlagError
from tests.conftest import on_the_default_leg
from tests.programs import run_python

PROGRAMS = ("circleloss", "data_parallel", "gitloss", "host", "sa_siam", "siamese_omniglot", "siamese_triplet")


def test_the_clock_takes_medians_over_blocks_and_leaves_out_the_warm_up(monkeypatch):
    clock = host.Clock()
    # two steps of warm-up, three blocks of two steps; the second block was disturbed
    walls = iter([10.0, 20.0, 21.0, 22.0, 50.0, 90.0, 91.0, 92.0, 93.0])
    cpus = iter([5.0, 9.0, 9.5, 10.0, 10.5, 11.0, 11.25, 11.5, 0.0])
    monkeypatch.setattr(host.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(host.time, "process_time", lambda: next(cpus))
    for _ in range(8):
        clock.mark()
    assert clock.per_step(warm_up=1, block=2) == (1.0, 0.5)


def test_functions_take_turns(monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(measuring.time, "process_time", lambda: 0.0)
    calls = []
    slow, fast = measuring.take_turns([lambda: calls.append("slow") or next(now), lambda: calls.append("fast")], 2, 3)
    assert calls == ["slow", "fast"] + 2 * (3 * ["slow"] + 3 * ["fast"])
    # reading the clock twice takes 1, and each slow call 1 more
    assert (slow.wall, fast.wall) == ((3 + 1) / 3, 1 / 3) and (slow.first, fast.first) == (2.0, 1.0)


def test_the_command_line():
    parsed = measuring.parse(["--device=gpu", "python3.9", "python3.11"])
    assert (parsed.device, parsed.part, parsed.pythons) == ("gpu", "", ["python3.9", "python3.11"])
    for wrong in ("--device=npu", "--frobnicate"):
        with pytest.raises(FlagError, match=re.escape(wrong)):
            measuring.parse([wrong])


@pytest.mark.parametrize("name", [name if name in ("gitloss", "siamese_triplet") else
                                  pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS])
@on_the_default_leg
def test_without_a_gpu_one_line_says_so(name):
    """On a machine with a GPU the benchmark would run for minutes, so none is visible."""
    done = run_python(os.path.join("benchmarks", f"{name}.py"), "--device=gpu", CUDA_VISIBLE_DEVICES="-1")
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"\[Error\] --device=gpu: TensorFlow \S+ sees no GPU; [^\n]+\n", done.stderr)


@on_the_default_leg
def test_the_head_of_circle_loss_by_the_number_of_classes():
    done = run_python(os.path.join("benchmarks", "circle_head.py"), "40")
    assert done.returncode == 0, done.stderr
    *_, row = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert row[0] == "40" and len(row) == 7 and all(float(cell.replace(",", "")) >= 0 for cell in row)


@pytest.mark.parametrize("old, new, text", [
    ([10.0, 11.0, 9.0], [5.0, 5.5, 5.0], "10 -> 5, -50.0%, noise 20.0%"),
    ([10.0, 11.0, 9.0], [9.0, 9.0, 9.9], "10 -> 9, (-10.0%, noise 20.0%)"),
    ([10.0], [5.0, 5.0], "10 -> 5, -50.0%, noise unknown"),
    (None, [5.0], None),
])
def test_a_change_is_shown_with_its_noise(old, new, text):
    assert compare.change(old, new) == text


def test_tables_are_compared_by_model_and_device(tmp_path, capsys):
    row = dict(model="gitloss", device="cpu", tensorflow="2.21.0", step_ms=[200.0, 202.0])
    for name, rows in (("old", [row]), ("new", [dict(row, step_ms=[100.0, 101.0]), dict(row, device="gpu")])):
        (tmp_path / f"{name}.json").write_text(json.dumps(dict(rows=rows)))
    assert compare.main([str(tmp_path / "old.json"), str(tmp_path / "new.json")]) == 0
    _, _, *found = capsys.readouterr().out.splitlines()
    assert len(found) == 1 and found[0].startswith("| gitloss | cpu | 201 -> 100.5, -50.0%, noise 1.0% | - |")
    assert compare.main([str(tmp_path / "none.json"), str(tmp_path / "new.json")]) == 1
    assert capsys.readouterr().err == f"[Error] {tmp_path / 'none.json'}: no such file\n"


def test_the_table_of_all_benchmarks(tmp_path, monkeypatch, capsys):
    """Medians of repeated measurements, each row with its host case; all measurements are kept."""
    steps = iter([30.0, 10.0, 20.0])
    asked = []

    def run_part(script, part, python, device, **variables):
        asked.append((os.path.basename(script), part))
        if part == "gitloss":
            return dict(wall_ms=2.0, cpu_ms=1.5)
        leg = dict(step_ms=next(steps), cpu_ms=15.0, of_bare=0.5, of_bare_cpu=0.6, first_s=1.0, start_up_s=4.0)
        return dict(tensorflow="2.21.0", peak_mb=500.0, legs={"gitloss": leg})

    monkeypatch.setattr(measuring, "run_part", run_part)
    monkeypatch.setattr(all_benchmarks.os, "getloadavg", lambda: (7.4, 0.0, 0.0))
    monkeypatch.setattr(all_benchmarks, "FOLDER", str(tmp_path))
    assert all_benchmarks.main(["--only=gitloss", "--repeats=3"]) == 0
    assert asked == 3 * [("gitloss.py", "measure")] + 3 * [("host.py", "gitloss")]
    row = "| gitloss | cpu | 20.0 | 15.0 | 50% | 60% | 2.00 | 1.50 | 500 | 1.0 | 4.0 | 7 |"
    assert row in capsys.readouterr().out
    (path,) = tmp_path.glob("*-cpu.json")
    assert json.loads(path.read_text())["rows"][0]["step_ms"] == [30.0, 10.0, 20.0]
    assert path.with_suffix(".md").read_text().splitlines()[2] == row
    assert all_benchmarks.main(["--only=nothing"]) == 2


def test_rows_of_an_interrupted_run_are_kept(tmp_path, monkeypatch):
    def run_part(script, part, python, device, **variables):
        if "circleloss" in script:
            raise SystemExit(1)
        leg = dict(step_ms=1.0, cpu_ms=1.0, of_bare=0.5, of_bare_cpu=0.5, first_s=1.0, start_up_s=1.0)
        return dict(tensorflow="2.21.0", peak_mb=1.0, legs={"other": leg})

    monkeypatch.setattr(measuring, "run_part", run_part)
    monkeypatch.setattr(all_benchmarks, "FOLDER", str(tmp_path))
    with pytest.raises(SystemExit):
        all_benchmarks.main(["--repeats=1"])
    (path,) = tmp_path.glob("*-cpu.json")
    assert [row["model"] for row in json.loads(path.read_text())["rows"]] == ["other"]


def test_every_row_has_its_host_case():
    assert set(all_benchmarks.HOST_CASES.values()) <= set(host.CASES)
