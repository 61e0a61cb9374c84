"""The train entry from flags to files, in this process, on a few drawn look-alikes."""
from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from siamese_triplet_tf2 import training
from siamese_triplet_tf2.recipe import Switches
from tests.conftest import on_the_default_leg
from tests.keras.siamese_triplet_tf2.conftest import train
from tests.programs import error_line
from tests.results import last_variables, losses, result_file, rows

CASE = "siamese_network_ID2539_for_TensorFlow2.X_bs8_1p_acc"


def test_log(full_run):
    log = (full_run / "train_0.log").read_text().splitlines()
    assert re.fullmatch(r"Device: cpu \| TensorFlow [\d.]+ \| adapter none \| precision float32", log[0])
    epochs = [line for line in log if line.startswith("Epoch ")]
    assert epochs == ["Epoch 1/2", "Epoch 2/2"]
    keras = [line for line in log if re.fullmatch(r"3/3 - \d+s - loss: \d+\.\d{4} - val_loss: \d+\.\d{4}", line)]
    assert [line.split()[5] for line in keras] == [f"{row['train_loss']:.4f}" for row in rows(full_run, "eval")]
    assert any("the backbone tiny is for smoke tests" in line for line in log)
    assert any(re.fullmatch(r"Features: 60 images, 1 MB, kept in memory", line) for line in log)
    assert [line.split(" : ")[0] for line in log[-6:]] == [
        "Final Training Duration sec", "------------------ Final result ------------------",
        "Final Performance images/sec", "Final Performance sec/step", "E2E Training Duration sec",
        "Final Train Accuracy"]


@on_the_default_leg
def test_the_line_of_fifty_steps(tmp_path, look_alike_folder, capfd):
    assert train(look_alike_folder, tmp_path, "--train_steps=52", "--performance") == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("TimeHistory")]
    assert len(lines) == 1
    match = re.fullmatch(r"TimeHistory: (\d+\.\d\d) seconds, (\d+\.\d\d) examples/second between steps 0 and 50",
                         lines[0])
    seconds = sum(row["step_seconds"] for row in rows(tmp_path / "0", "step")[:50])
    assert float(match.group(1)) == pytest.approx(seconds, abs=0.006)
    assert float(match.group(2)) == pytest.approx(8 * 50 / seconds, rel=0.01)
    # the original's performance case: the value has a suffix, the file has none; no evaluation
    values = result_file(tmp_path / "0", CASE.replace("_acc", "_perf"))
    assert values["CaseName"] == "siamese_network_ID2539_for_TensorFlow2.X_bs8_1p_perf_dynamic"
    assert values["TrainAccuracy"] == "n/a" and rows(tmp_path / "0", "eval") == []


def test_result_file(full_run):
    values = result_file(full_run, CASE)
    assert list(values) == ["Network", "RankSize", "BatchSize", "DeviceType", "CaseName", "ActualFPS", "TrainingTime",
                            "TrainAccuracy", "ActualLoss", "E2ETrainingTime"]
    final, last = rows(full_run, "final")[0], rows(full_run, "eval")[-1]
    assert values["CaseName"] == CASE and values["BatchSize"] == "8" and values["RankSize"] == "1"
    assert float(values["ActualFPS"]) == pytest.approx(final["images_per_second"], abs=1e-3)
    assert float(values["TrainingTime"]) == pytest.approx(8 * 1000 / float(values["ActualFPS"]), rel=1e-3)
    assert float(values["ActualLoss"]) == pytest.approx(last["train_loss"], abs=1e-4)
    assert float(values["TrainAccuracy"]) == pytest.approx(last["triplet_accuracy"], abs=1e-4)


def test_loss_file_and_metrics(full_run):
    evaluations = rows(full_run, "eval")
    assert [row["step"] for row in evaluations] == [3, 6] and [row["step"] for row in rows(full_run, "step")] == [
        1, 2, 3, 4, 5, 6]
    text = (full_run / f"train_{CASE}_loss.txt").read_text().split()
    assert text == [f"{row['train_loss']:.4f}" for row in evaluations]
    assert evaluations[0]["train_loss"] == pytest.approx(np.mean([row["loss"] for row in rows(full_run, "step")[:3]]))
    for name in ("triplet_accuracy", "cosine_recall_at_1", "l2_recall_at_10", "cosine_median_rank",
                 "positive_similarity", "negative_similarity"):
        assert all(np.isfinite(row[name]) for row in evaluations)


def test_files_of_the_run_directory(full_run):
    names = {path.name for path in full_run.iterdir() if path.name not in ("evaluate", "predict", "export")}
    assert names == {".lock", "arguments.json", "metrics.jsonl", "train_0.log", f"{CASE}.log", "events", "ckpt",
                     f"train_{CASE}_loss.txt"}
    arguments = json.loads((full_run / "arguments.json").read_text())
    assert arguments["cache_features"] == "memory" and arguments["identity"]["cache_features"] == "auto"
    assert arguments["identity"]["input_scale"] == "unit" and arguments["identity"]["weights"] is None


def test_checkpoints_hold_names_of_layers_and_the_optimizer(full_run):
    values = last_variables(full_run)
    assert values["global_step"] == 6 and values["dense/kernel"].shape == (784, 512)
    assert not [name for name in values if ":" in name or name.startswith("_")]
    assert len([name for name in values if name.startswith("Adam/")]) >= 25


@on_the_default_leg
def test_cached_training_is_the_uncached_one(tmp_path, look_alike_folder):
    """The same losses and weights, whether features are kept or computed at every step; on disk bit for bit."""
    for choice in ("off", "memory", "disk"):
        assert train(look_alike_folder, tmp_path / choice, f"--cache_features={choice}", "--epochs=2",
                     "--recipe=corrected") == 0
    uncached, memory, disk = (losses(tmp_path / choice / "0") for choice in ("off", "memory", "disk"))
    assert memory == disk
    np.testing.assert_allclose(memory, uncached, rtol=1e-5)
    kept, computed = (last_variables(tmp_path / choice / "0") for choice in ("memory", "off"))
    for name, value in kept.items():
        if "/" in name and not name.startswith("Adam"):
            np.testing.assert_allclose(value, computed[name], atol=2.1e-4, err_msg=name)  # a step of Adam's or two
    assert (tmp_path / "disk" / "0" / "features" / "features.float32").stat().st_size == 60 * 13 * 13 * 16 * 4


@on_the_default_leg
def test_static_shapes_leave_the_rest_of_an_epoch_out(tmp_path, look_alike_folder):
    assert train(look_alike_folder, tmp_path / "static", "--static_shape", "--batch_size=7", "--epochs=1") == 0
    assert train(look_alike_folder, tmp_path / "any", "--batch_size=7", "--epochs=1") == 0
    sizes = [[row["triplets"] for row in rows(tmp_path / name / "0", "step")] for name in ("static", "any")]
    assert sizes == [[7, 7, 7], [7, 7, 7, 3]]


@on_the_default_leg
@pytest.mark.parametrize("flags", [["--batch_statistics"], ["--semi_hard"], ["--loss_scale=dynamic"],
                                   ["--split=redrawn"], ["--negatives=others"], ["--input_scale=255"]])
def test_switches_change_what_they_should(tmp_path, look_alike_folder, full_run, flags):
    assert train(look_alike_folder, tmp_path, "--static_shape", "--train_steps=2", *flags) == 0
    found, reference = losses(tmp_path / "0"), losses(full_run)[:2]
    if flags == ["--loss_scale=dynamic"]:  # a power of two in and out again
        np.testing.assert_allclose(found, reference, rtol=1e-4)
        assert any("Adam" in name and value.shape == () and value >= 1024
                   for name, value in last_variables(tmp_path / "0").items())
    else:
        assert found != reference


def test_mixed_precision_is_the_policy_of_keras_with_a_scaled_loss(tmp_path, look_alike_folder, full_run):
    """What a GPU gets with --precision_mode=allow_mix_precision, on the CPU: float16 inside, float32 variables."""
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        assert train(look_alike_folder, tmp_path, "--static_shape", "--train_steps=3", "--recipe=reference") == 0
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    found, reference = losses(tmp_path / "0"), losses(full_run)[:3]
    assert found != reference
    np.testing.assert_allclose(found, reference, rtol=0.2)
    values = last_variables(tmp_path / "0")
    assert values["dense/kernel"].dtype == np.float32
    assert any("Adam" in name and value.shape == () and value >= 1024 for name, value in values.items())


def test_batch_statistics_move_the_statistics(tmp_path, look_alike_folder, full_run):
    assert train(look_alike_folder, tmp_path, "--train_steps=1", "--batch_statistics") == 0
    moved, still = last_variables(tmp_path / "0"), last_variables(full_run)
    assert (still["batch_normalization/moving_mean"] == 0).all()
    assert (moved["batch_normalization/moving_mean"] != 0).any()


@pytest.mark.parametrize("recipe, flags, wanted", [
    ("reference", [], Switches("unit", False, "listed", False)),
    ("corrected", [], Switches("255", True, "others", True)),
    ("corrected", ["--negatives=listed", "--accurate_jpeg=false", "--exif_orientation=false"],
     Switches("255", False, "listed", False)),
])
def test_recipes(tmp_path, look_alike_folder, recipe, flags, wanted, capfd):
    assert train(look_alike_folder, tmp_path, f"--recipe={recipe}", "--train_steps=1", *flags) == 0
    identity = json.loads((tmp_path / "0" / "arguments.json").read_text())["identity"]
    assert Switches(**{field.name: identity[field.name] for field in dataclasses.fields(Switches)}) == wanted
    assert f"Recipe: {recipe}, input_scale={wanted.input_scale}, accurate_jpeg=" in capfd.readouterr().out


def test_diagnosis_flags(tmp_path, look_alike_folder):
    assert train(look_alike_folder, tmp_path, "--train_steps=3", "--data_dump_flag", "--data_dump_step=2",
                 "--profiling") == 0
    dumped = {path.name: np.load(str(path)) for path in (tmp_path / "0" / "data_dump" / "step-2").iterdir()}
    assert dumped["features.npy"].shape == (24, 13, 13, 16) and dumped["losses.npy"].shape == (8,)
    assert dumped["gradient.dense_2.kernel.npy"].shape == (256, 256)
    assert np.mean(dumped["losses.npy"]) == pytest.approx(losses(tmp_path / "0")[1])
    assert list((tmp_path / "0" / "profiling").rglob("*.xplane.pb"))


@on_the_default_leg
def test_overflow_and_divergence_are_one_line(tmp_path, look_alike_folder, monkeypatch, capfd):
    monkeypatch.setattr(training, "LEARNING_RATE", 1e30)
    assert train(look_alike_folder, tmp_path / "plain", "--train_steps=4") == 1
    assert "training has diverged" in capfd.readouterr().err
    assert train(look_alike_folder, tmp_path / "over", "--train_steps=4", "--over_dump") == 1
    assert re.search(r"overflow at step \d: op .+ produced .*; details in .*-step-\d.txt", capfd.readouterr().err)


def test_taking_weights_from_a_checkpoint(tmp_path, look_alike_folder, full_run, capfd):
    prefix = str(full_run / "ckpt" / "model.ckpt-6")
    assert train(look_alike_folder, tmp_path, f"--init_checkpoint={prefix}", "--train_steps=1") == 0
    before, after = last_variables(full_run), last_variables(tmp_path / "0")
    assert np.array_equal(before["conv1_conv/kernel"], after["conv1_conv/kernel"])
    assert 0 < np.abs(before["dense_2/kernel"] - after["dense_2/kernel"]).max() <= 1.01e-4  # one step of Adam's
    assert "Not loaded" not in capfd.readouterr().out


@pytest.mark.parametrize("flags, status, message", [
    (["--batch_size=100", "--static_shape"], 2, "--batch_size=100: only 24 training pairs"),
    (["--weights=/no/such.h5"], 1, "/no/such.h5: no such file"),
    (["--backbone=resnet50"], 1, "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5: no such file; get "),
    (["--backbone=vgg"], 2, "backbone"),
    (["--init_checkpoint=/no/such"], 1, "no such checkpoint"),
])
def test_mistakes_are_one_line_before_anything_is_written(tmp_path, look_alike_folder, capfd, flags, status, message):
    assert train(look_alike_folder, tmp_path / "out", *flags) == status
    assert message in error_line(capfd) and not (tmp_path / "out").exists()


def test_rank_size_is_accepted_as_one(tmp_path, look_alike_folder, monkeypatch):
    monkeypatch.setenv("RANK_SIZE", "")
    assert train(look_alike_folder, tmp_path, "--train_steps=1") == 0


@on_the_default_leg
def test_the_loss_falls(tmp_path, look_alike_folder):
    assert train(look_alike_folder, tmp_path, "--recipe=corrected", "--performance", "--train_steps=40") == 0
    found = losses(tmp_path / "0")
    assert np.mean(found[-10:]) < 0.1 * np.mean(found[:5])
