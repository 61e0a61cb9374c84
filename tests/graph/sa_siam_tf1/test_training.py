"""The train entry from flags to files, on tiny videos."""
from __future__ import annotations

import io
import json
import re
import threading
import tracemalloc
import types

import numpy as np
import pytest
from PIL import Image

from common.tiny_data import tracking
from sa_siam_tf1 import log_lines, training
from sa_siam_tf1.configuration import ModelConfig, TrackConfig, TrainConfig
from sa_siam_tf1.datasets import dataloader, imdb
from tests.conftest import on_the_default_leg
from tests.graph.sa_siam_tf1.conftest import train
from tests.results import events_in, last_variables, result_file, rows, variables_in


def test_what_a_run_leaves_behind(appearance_run):
    run = appearance_run / "0"
    assert [(row["kind"], row["step"]) for row in rows(run)] == [
        ("step", 1), ("step", 2), ("eval", 2), ("final", 2)]
    steps, (evaluation,) = rows(run, "step"), rows(run, "eval")
    decay = 0.5 * 5e-4 * sum(np.sum(np.square(value, dtype=np.float64)) for name, value in last_variables(run).items()
                             if name.endswith("/weights"))
    assert steps[1]["loss"] - steps[1]["batch_loss"] == pytest.approx(decay, rel=1e-2)
    assert 0 < evaluation["valid_loss"] < 20 and evaluation["best"] is True
    assert evaluation["valid_total_loss"] - evaluation["valid_loss"] == pytest.approx(decay, rel=1e-4)
    assert 0 <= steps[0]["center_dist_error"] <= 1 and steps[0]["center_score_error"] in (0, 0.5, 1)
    assert "center_score_error" not in steps[1]  # of every hundredth step
    log = (run / "train_0.log").read_text()
    assert re.search(r"\d: step 0, total loss = \d+\.\d\d batch loss = \d+\.\d\d \( \d+\.\d examples/sec; "
                     r"\d+\.\d{3} sec/batch; \d+h:\d\dm:\d\ds remains\)\n", log)
    assert "\nembedding init method -- None\n-- sa_siam/appearance_net/conv1/weights\n" in log
    assert len(re.findall(r"^-- \S+$", log, re.MULTILINE)) == 23  # what is trained
    name = "Siamese_ID1289_for_TensorFlow_bs2_1p_acc"
    result = result_file(run, name)
    assert list(result) == ["Network", "RankSize", "BatchSize", "DeviceType", "CaseName", "ActualFPS", "TrainingTime",
                            "ActualLoss", "TrainAccuracy", "E2ETrainingTime"]
    assert float(result["ActualLoss"]) == pytest.approx(steps[0]["loss"], abs=1e-4) == float(result["TrainAccuracy"])
    assert f"\nMean total loss of the last 1 logged steps : {result['TrainAccuracy']}\n" in log
    assert (run / f"{name}_loss.txt").read_text() == f"{steps[0]['loss']:.2f}\n"
    table = (run / "appearance_npu.csv").read_text().splitlines()
    assert table == ["Step,Loss,batch_loss", f"step 0,{steps[0]['loss']:.6f},{steps[0]['batch_loss']:.6f}"]
    folder = run / "track_model_checkpoints" / "SA-Siam-Appearance"
    assert variables_in(folder / "model.ckpt-1")["train/global_step"] == 2
    assert json.loads((run / "train_config.json").read_text())["batch_size"] == 2


def test_images_of_training_and_validation(appearance_run, tiny_videos):
    found = {(event.step, value.tag): value for event in events_in(appearance_run / "0" / "events" / "images")
             for value in event.summary.value}
    for step, family, pairs, side, cells in ((1, "train", 2, 239, 15), (2, "validation", 1, 255, 17)):
        tags = {tag[len(family) + 1:] for at, tag in found if at == step}
        assert tags == {"GT", "Response"} | {f"{tag}/{number}" for tag in ("exemplar", "instance", "Response")
                                             for number in range(pairs)}
        assert found[step, f"{family}/exemplar/0"].image.width == side
        assert found[step, f"{family}/Response/0"].image.width == found[step, f"{family}/GT"].image.width == cells
        assert found[step, f"{family}/Response"].histo.num == pairs * cells * cells
    config = TrainConfig(batch_size=2)  # what is shown is what was trained on
    batch = next(dataloader.training_batches(imdb.load(str(tiny_videos / "ILSVRC2015")).train, config, 0))
    shown = Image.open(io.BytesIO(found[1, "train/instance/1"].image.encoded_image_string))
    assert np.array_equal(np.asarray(shown), np.uint8(np.clip(batch.instances[1], 0, 255)))


@on_the_default_leg
def test_without_validation_the_loss_falls_and_each_epoch_keeps_the_original_s_checkpoint_once(tmp_path):
    """Epochs of two steps: checkpoints after 2 and 4 updates and at the end, none of them again in a resumed run."""
    tracking.make(str(tmp_path / "data"), num_videos=1, num_frames=4, num_sequences=0)
    folder = tmp_path / "0" / "track_model_checkpoints" / "SA-Siam-Appearance"
    flags = ["--batch_size=1", "--num_examples_per_epoch=2"]

    def kept():
        return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.index")}

    assert train(tmp_path / "data", tmp_path, "--steps=4", *flags) == 0
    before = kept()
    assert sorted(before) == ["model.ckpt-1.index", "model.ckpt-3.index"]
    assert train(tmp_path / "data", tmp_path, "--steps=5", f"--resume={tmp_path / '0'}", *flags) == 0
    after = kept()
    assert sorted(after) == [*sorted(before), "model.ckpt-4.index"]
    assert {name: after[name] for name in before} == before
    assert [row["kind"] for row in rows(tmp_path / "0")] == ["step"] * 5 + ["final"]
    losses = [row["batch_loss"] for row in rows(tmp_path / "0", "step")]
    assert np.mean(losses[-2:]) < 0.5 * losses[0]


@on_the_default_leg
def test_a_diverged_run_says_so_and_closes_its_threads_and_files(narrow, tiny_videos, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(log_lines, "SUMMARY_INTERVAL", 1)
    before = threading.active_count()
    assert train(tiny_videos, tmp_path, "--batch_size=1", "--steps=3", "--initial_lr=1e30") == 1
    error = capfd.readouterr().err
    assert re.search(r"\[Error\] the loss is (inf|nan) at step 2: training has diverged; try a smaller --initial_lr",
                     error)
    assert threading.active_count() == before
    assert {event.step for event in events_in(tmp_path / "0" / "events" / "images") if event.summary.value} == {1}
    assert len((tmp_path / "0" / "appearance_npu.csv").read_text().splitlines()) == 2


def test_memory_does_not_grow_with_the_rows(tmp_path):
    request = types.SimpleNamespace(performance=False, case_name="case", num_updates=20000)
    run = types.SimpleNamespace(path=str(tmp_path), request=request, file=lambda name: str(tmp_path / name))
    config = training.Config(ModelConfig(), TrainConfig(), TrackConfig(), None, {})
    task = training._Task(config, imdb.Tracks([[]], [], [], []), None, None, types.SimpleNamespace(run=run))

    def replay(steps):
        for step in steps:
            task.on_row(dict(kind="step", step=step, seconds=1.0, loss=2.0, batch_loss=1.0, step_seconds=1.0), True)

    replay(range(1, 1001))
    tracemalloc.start()
    replay(range(1001, 6001))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    task.close()
    assert grown < 20_000
    assert len((tmp_path / "case_loss.txt").read_text().splitlines()) == 600
    assert len((tmp_path / "appearance_npu.csv").read_text().splitlines()) == 1 + 60
