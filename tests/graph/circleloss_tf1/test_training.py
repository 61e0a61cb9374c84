"""The train entry from flags to files, in this process, on a few drawn faces and with the small network."""
from __future__ import annotations

import json
import os
import re
import shutil

import h5py
import numpy as np
import pytest

from circleloss_tf1 import train_acc
from tests import odd_images
from tests.conftest import on_the_default_leg
from tests.graph.circleloss_tf1.conftest import small_network, train
from tests.programs import error_line
from tests.results import losses, result_file, rows, variables_in

pytestmark = pytest.mark.usefixtures("one_block")

CASE = "CircleLoss_ID1221_for_TensorFlow_bs8_1p_acc"
SMALL = ("--recipe=corrected", "--image_size=32")
STEP_LINE = re.compile(r"epoch : (\d+)----step : (\d+)----loss : (\d+\.\d+)----sec/step : (\d+\.\d+)")


@pytest.fixture(scope="module")
def full_run(tmp_path_factory, tiny_faces_folder):
    """Two epochs and a half of two updates; validation after the second."""
    output = tmp_path_factory.mktemp("full")
    with small_network():
        assert train(tiny_faces_folder, output, "--epoch_size=2", "--train_steps=5", "--validation_set_split_ratio=0.2",
                     "--validate_every_n_epochs=2") == 0
    return output / "0"


def test_log(full_run):
    log = (full_run / "train_0.log").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"Device: cpu \| TensorFlow [\d.]+ \| adapter none \| precision float32", log[0])
    steps = [match.groups() for match in map(STEP_LINE.fullmatch, log) if match]
    assert [(int(epoch), int(step)) for epoch, step, _, _ in steps] == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5)]
    for line, count in (("learning rate: 0.1", 3), ("Saving variables", 3), ("Saving metagraph", 1),
                        ("Runnning forward pass on LFW images", 3), ("Saving statistics", 3)):
        assert log.count(line) == count, line
    for pattern, count in ((r"Variables saved in \d+\.\d\d seconds", 3), (r"Metagraph saved in \d+\.\d\d seconds", 1),
                           (r"Accuracy: \d\.\d{5}\+-\d\.\d{5}", 3), (r"Equal error rate: \d\.\d{5}", 3),
                           (r"Validation rate: \d\.\d{5}\+-\d\.\d{5} @ FAR=\d\.\d{5}", 3)):
        assert sum(re.fullmatch(pattern, line) is not None for line in log) == count, pattern
    assert [line.split(" : ")[0] for line in log[-5:]] == [
        "------------------ Final result ------------------", "Final Performance images/sec",
        "Final Performance sec/step", "E2E Training Duration sec", "Final Train Accuracy"]


def test_metrics(full_run):
    evaluations = rows(full_run, "eval")
    assert [(row["step"], row["epoch"]) for row in evaluations] == [(2, 1), (4, 2), (5, 3)]
    assert ["validation_loss" in row for row in evaluations] == [False, True, False]
    assert rows(full_run)[-1]["accuracy"] == max(row["lfw_accuracy"] for row in evaluations)
    for row in rows(full_run, "step"):
        assert row["loss"] == pytest.approx(row["circle_loss"]) and row["learning_rate"] == pytest.approx(0.1)


def test_result_file(full_run):
    values = result_file(full_run, CASE)
    assert list(values) == ["Network", "RankSize", "BatchSize", "DeviceType", "CaseName", "ActualFPS", "TrainingTime",
                            "ActualLoss", "TrainAccuracy", "E2ETrainingTime"]
    assert values["CaseName"] == CASE and float(values["ActualLoss"]) == rows(full_run, "step")[-1]["loss"]
    assert float(values["TrainAccuracy"]) == pytest.approx(rows(full_run, "final")[0]["accuracy"], abs=1e-5)


def test_text_files(full_run):
    steps, evaluations = rows(full_run, "step"), rows(full_run, "eval")
    times = [float(line) for line in (full_run / "step_time_list.txt").read_text().split()]
    assert times == [row["step_seconds"] for row in steps]
    assert float((full_run / "StepTime.txt").read_text()) == pytest.approx(np.mean(times))
    assert (full_run / f"{CASE}_loss.txt").read_text().splitlines() == [f" {row['loss']}" for row in steps]
    assert float((full_run / "train_accuracy.txt").read_text()) == max(row["lfw_accuracy"] for row in evaluations)
    assert (full_run / "lfw_result.txt").read_text() == "".join(
        f"{row['step']}\t{row['lfw_accuracy']:.5f}\t{row['lfw_val_rate']:.5f}\n" for row in evaluations)
    assert "batch_size: 8\n" in (full_run / "arguments.txt").read_text()
    assert re.match(r"arguments: --data_path.*\n-+\ntensorflow version: [\d.]+\n-+\ngit hash: ",
                    (full_run / "revision_info.txt").read_text())


def test_statistics(full_run):
    steps, evaluations = rows(full_run, "step"), rows(full_run, "eval")
    with h5py.File(str(full_run / "stat.h5"), "r") as file:
        found = {name: file[name][()] for name in file}
    assert {name: array.shape for name, array in found.items()} == dict(
        **dict.fromkeys(("loss", "center_loss", "reg_loss", "xent_loss", "prelogits_norm", "accuracy"), (5,)),
        **dict.fromkeys(("learning_rate", "lfw_accuracy", "lfw_valrate", "time_train", "time_validate",
                         "time_evaluate"), (3,)),
        **dict.fromkeys(("val_loss", "val_xent_loss", "val_accuracy"), (2,)), prelogits_hist=(3, 1000))
    assert all(array.dtype == np.float32 for array in found.values())
    np.testing.assert_allclose(found["loss"], [row["loss"] for row in steps], rtol=1e-6)
    np.testing.assert_allclose(found["lfw_accuracy"], [row["lfw_accuracy"] for row in evaluations], rtol=1e-6)
    assert found["val_loss"][0] == pytest.approx(evaluations[1]["validation_loss"])
    assert found["time_train"][0] == pytest.approx(sum(row["step_seconds"] for row in steps[:2]))
    assert found["prelogits_hist"].sum(axis=1).tolist() == [2 * 8 * 128, 2 * 8 * 128, 8 * 128]


def test_files_of_the_run_directory(full_run):
    names = sorted(path.name for path in full_run.iterdir())
    assert names == sorted([".lock", "arguments.json", "arguments.txt", "metrics.jsonl", "train_0.log", f"{CASE}.log",
                            f"{CASE}_loss.txt", "events", "ckpt", "models", "stat.h5", "StepTime.txt",
                            "step_time_list.txt", "train_accuracy.txt", "lfw_result.txt", "revision_info.txt"])
    arguments = json.loads((full_run / "arguments.json").read_text())
    assert arguments["identity"]["head"] == "logits" and arguments["identity"]["num_classes"] == 12
    started = arguments["started"]
    assert sorted(path.name for path in (full_run / "models").iterdir()) == sorted([
        "checkpoint", f"model-{started}.meta", f"model-{started}.ckpt-3.index",
        f"model-{started}.ckpt-3.data-00000-of-00001"])
    assert set(arguments["flags"]) >= {"epoch_size", "lfw_missing"}


def test_checkpoints(full_run):
    """The original's file holds the trainable variables alone; ours holds everything."""
    from common.checkpoints.bundle import steps_in

    best = [row["step"] for row in rows(full_run, "eval") if row["best"]][-1]
    assert set(steps_in(str(full_run / "ckpt"))) == {4, 5, best}
    (index,) = (full_run / "models").glob("*.index")
    weights, everything = variables_in(str(index)[:-6]), variables_in(full_run / "ckpt" / "model.ckpt-5")
    leaves = {name.split("/")[-1] for name in weights}
    assert leaves == {"kernel", "bias", "gamma", "beta"} and len(weights) == 4 * 4 + 2
    assert everything["Variable"] == 5
    assert {"centers", "prelogits_histogram", "beta1_power", "dense/kernel/Adam_1", "total_loss/avg",
            "dense/kernel/ExponentialMovingAverage", "batch_normalization/moving_mean"} <= set(everything)
    assert everything["centers"].any()  # they move even with factor 0
    for name, value in weights.items():
        np.testing.assert_array_equal(value, everything[name])


def test_corrected_recipe_with_its_options(tmp_path, tiny_faces_folder, capfd):
    assert train(tiny_faces_folder, tmp_path, "--recipe=corrected", "--train_steps=2", "--image_size=48",
                 "--embedding_size=16", "--random_crop", "--random_flip", "--random_rotate", "--keep_probability=0.8",
                 "--weight_decay=5e-4", "--use_fixed_image_standardization=false", "--class_balanced_sampling",
                 "--center_loss_factor=0.01", "--ema_evaluation", "--lfw_use_flipped_images", "--lfw_subtract_mean",
                 "--lfw_distance_metric=1", "--lfw_batch_size=7") == 0
    assert "head=cosine, batch_norm=moving, jpeg_decoding=accurate, extra_options=True" in capfd.readouterr().out
    values = variables_in(tmp_path / "0" / "ckpt" / "model.ckpt-2")
    assert values["bottleneck/kernel"].shape == (128, 16) and "dense/bias" not in values
    assert values["batch_normalization/moving_mean"].any()
    assert rows(tmp_path / "0", "step")[0]["regularisation_loss"] > 0


@on_the_default_leg
def test_the_reference_ignores_what_the_original_ignores(tmp_path, tiny_faces_folder, capfd):
    """In performance runs, which have no accuracy and here too few steps for a speed."""
    flags = ["--train_steps=1", "--performance"]
    assert train(tiny_faces_folder, tmp_path, *flags) == 0
    values = result_file(tmp_path / "0", CASE.replace("_acc", "_perf"))
    assert "TrainAccuracy" not in values and values["ActualFPS"] == "n/a" and rows(tmp_path / "0", "eval") == []
    plain = rows(tmp_path / "0", "step")[0]["loss"]
    capfd.readouterr()
    assert train(tiny_faces_folder, tmp_path, *flags, "--image_size=48", "--random_flip", "--weight_decay=1",
                 "--keep_probability=0.1", "--log_histograms", "--gpu_memory_fraction=0.5") == 0
    out = capfd.readouterr().out
    for name in ("image_size", "random_flip", "weight_decay", "keep_probability", "log_histograms",
                 "gpu_memory_fraction"):
        assert f"Warning: --{name} has no effect" in out
    assert rows(tmp_path / "0", "step")[0]["loss"] == plain


@on_the_default_leg
def test_schedule_file_ends_the_training(tmp_path, tiny_faces_folder, capfd):
    (tmp_path / "rates.txt").write_text("0: 0.01\n1: 0.001\n2: -\n")
    assert train(tiny_faces_folder, tmp_path / "out", *SMALL, "--epoch_size=1", "--epochs=5", "--performance",
                 "--learning_rate=-1",
                 f"--learning_rate_schedule_file={tmp_path / 'rates.txt'}", "--optimizer=MOM") == 0
    out = capfd.readouterr().out
    assert "learning rate: 0.01\n" in out and "learning rate: 0.001\n" in out and "ends the training after 2" in out
    assert [row["step"] for row in rows(tmp_path / "out" / "0", "step")] == [1, 2]


def test_images_that_cannot_be_used(tmp_path, tiny_faces_folder, capfd):
    """Damaged ones, and formats that TensorFlow would decode, GIF to four dimensions: an error, or always the same
    images instead.
    """
    shutil.copytree(tiny_faces_folder, str(tmp_path / "data"))
    people = tmp_path / "data" / "MS-Celeb-1M_clean_align"
    paths = [people / f"m.{person:04d}" / "003.jpg" for person in range(8)]
    reasons = [f"{path}: not a readable image (it is {kind}, expected JPEG or PNG)"
               for path, kind in zip(paths, odd_images.OTHER_FORMATS)]
    for path, kind in zip(paths, odd_images.OTHER_FORMATS):
        shutil.move(odd_images.make_other(str(tmp_path), kind), str(path))
    for path in paths[len(reasons):]:
        path.write_bytes(b"no image")
    flags = [*SMALL, "--epoch_size=15", "--performance", "--train_steps=15"]  # all of the 120 images
    assert train(tmp_path / "data", tmp_path / "out", *flags) == 1
    assert re.fullmatch(rf"\[Error\] {people}/m\.000\d/003\.jpg: not a readable image \(.+\); fix or remove it, or "
                        r"train with --bad_images=skip\n", error_line(capfd))
    for name in ("one", "two"):
        assert train(tmp_path / "data", tmp_path / name, *flags, "--bad_images=skip") == 0
        lines = capfd.readouterr().out.splitlines()
        assert sum(line.endswith("; another image is used instead") for line in lines) == len(paths)
        assert {f"Warning: {reason}; another image is used instead" for reason in reasons} <= set(lines)
    assert losses(tmp_path / "one" / "0") == losses(tmp_path / "two" / "0")


def test_a_run_without_lfw_says_so(reference_output):
    log = (reference_output / "0" / "train_0.log").read_text()
    assert "the run is not verified on LFW" in log and "Final Train Accuracy : n/a" in log
    assert (reference_output / "0" / "train_accuracy.txt").read_text() == "n/a\n"


@on_the_default_leg
def test_data_dir_and_lfw_dir_win(tmp_path, tiny_faces_folder, capfd):
    faces, lfw = (os.path.join(tiny_faces_folder, name) for name in ("MS-Celeb-1M_clean_align",
                                                                    "lfw-deepfunneled_align"))
    assert train_acc.main([f"--data_dir={faces}", f"--lfw_dir={lfw}", f"--output_path={tmp_path}", "--device=cpu",
                           "--batch_size=2", "--model_def=models.resnet10", *SMALL, "--train_steps=1"]) == 0
    assert "20 pairs, 10 of them same" in capfd.readouterr().out


@pytest.mark.parametrize("flags, status, message", [
    (["--nonsense=1"], 2, "unknown flag --nonsense"),
    (["--optimizer=SGD"], 2, "optimizer"), (["--epoch_size=16"], 2, "an epoch draws 128 images"),
    (["--gamma=0"], 2, "--gamma=0.0: expected a number above 0"),
    (["--moving_average_decay=2"], 2, "range [0.0, 1.0]"),
    (["--lfw_dir=/no/such"], 1, "--lfw_dir=/no/such: not found"), (["--data_dir=/no/such"], 1, "--data_dir=/no/such"),
    (["--lfw_pairs=/no/such"], 1, "--lfw_pairs=/no/such: not found"), (["--lfw_nrof_folds=30"], 1, "too few for"),
    (["--learning_rate=-1", "--learning_rate_schedule_file=/no"], 1, "/no: not found"),
    (["--init_checkpoint=/no/such"], 1, "/no/such: no such checkpoint"), (["--filter_percentile=50"], 2, "needs"),
    (["--recipe=corrected", "--keep_probability=0"], 2, "keep_probability"), (["--keep_probability=2"], 2, "range"),
    (["--lfw_distance_metric=2"], 2, "metric"),
    (["--over_dump", "--data_dump_flag"], 2, "exclude each other"),
    (["--recipe=corrected", "--image_size=8"], 2, "image_size"),
])
def test_wrong_flags_leave_no_run_behind(tmp_path, tiny_faces_folder, capfd, flags, status, message):
    assert train(tiny_faces_folder, tmp_path, "--epochs=20", "--epoch_size=9", *flags) == status
    assert message in error_line(capfd)
    assert not (tmp_path / "0").exists()


def test_missing_data(tmp_path, capfd):
    assert train_acc.main([f"--output_path={tmp_path}"]) == 1
    assert capfd.readouterr().err == '[Error] para "data_path" must be config\n'
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.tar").touch()
    assert train(tmp_path / "data", tmp_path / "out") == 1
    assert "unpack the archive first: tar -xf" in capfd.readouterr().err


@pytest.mark.parametrize("given, wanted", [
    ([], 500000), (["--performance"], 100), (["--epochs=2"], 2000), (["--max_nrof_epochs=3", "--epoch_size=7"], 21),
    (["--train_steps=5", "--epochs=1"], 5), (["--performance", "--train_steps=7"], 7),
])
def test_the_first_limit_that_was_given_ends_the_run(given, wanted):
    assert train_acc.num_updates(train_acc.define_flags().parse(given)) == wanted


def test_weights_of_the_original_s_layout_can_be_taken_with_another_class_count(tmp_path, tiny_faces_folder, full_run,
                                                                                capfd):
    (index,) = (full_run / "models").glob("*.index")
    data = tmp_path / "data" / "MS-Celeb-1M_clean_align"
    shutil.copytree(os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align"), str(data))
    shutil.rmtree(str(data / "m.0000"))
    assert train(tmp_path / "data", tmp_path / "out", "--train_steps=1", "--learning_rate=1e-30", "--performance",
                 f"--init_checkpoint={index}") == 0
    out = capfd.readouterr().out
    assert "dense/kernel (shape [128, 12], expected [128, 11])" in out and out.count("Not loaded from") == 2
    before = variables_in(str(index)[:-6])
    after = variables_in(tmp_path / "out" / "0" / "ckpt" / "model.ckpt-1")
    np.testing.assert_array_equal(before["conv2d_3/kernel"], after["conv2d_3/kernel"])


@on_the_default_leg
def test_a_diverged_run_says_so_and_fails(tmp_path, tiny_faces_folder, capfd):
    assert train(tiny_faces_folder, tmp_path, *SMALL, "--train_steps=9", "--learning_rate=1e38", "--optimizer=GD",
                 "--performance") == 1
    assert re.search(r"\[Error\] the loss is (inf|nan) at step \d", capfd.readouterr().err)


def test_the_loss_falls(tmp_path, tiny_faces_folder):
    assert train(tiny_faces_folder, tmp_path, *SMALL, "--batch_size=24", "--epoch_size=5", "--train_steps=15",
                 "--optimizer=MOM", "--learning_rate=0.001", "--performance") == 0
    found = losses(tmp_path / "0")
    assert np.mean(found[-5:]) < 0.6 * np.mean(found[:5])
