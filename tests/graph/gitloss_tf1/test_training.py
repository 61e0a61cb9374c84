"""The train entry from flags to files, in this process, on a few drawn digits."""
from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest

from common.tiny_data import mnist as tiny_mnist
from gitloss_tf1 import gitloss
from tests import GOLDEN
from tests.conftest import on_the_default_leg
from tests.graph.gitloss_tf1.conftest import train
from tests.programs import error_line
from tests.results import losses, result_file, rows, variables_in

CASE = "Gitloss_ID1277_for_TensorFlow_bs8_1p_acc"
STEP_LINE = re.compile(r"Step: (\d+), Train_Loss: \d+\.\d{4} , Train_Acc: \d\.\d{4} , Valid_Loss: \d+\.\d{4} , "
                       r"Valid_Acc: \d\.\d{4} , inter_cls_dist: \d+\.\d{4} , intra_cls_dist: \d+\.\d{4} , "
                       r"train_time: \d+\.\d{4}")
PERF_LINE = re.compile(r"Step: (\d+), Epoch: 1, Train_Loss: \d+\.\d{4} , Train_Acc: \d\.\d{4} ,  inter_cls_dist: "
                       r"\d+\.\d{4} , intra_cls_dist: \d+\.\d{4} , train_time: \d+\.\d{4}")


@pytest.fixture
def full_run(output):
    return output / "0"


def test_log(full_run):
    log = (full_run / "train_0.log").read_text().splitlines()
    assert re.fullmatch(r"Device: cpu \| TensorFlow [\d.]+ \| adapter none \| precision float32", log[0])
    steps = [match.group(1) for match in map(STEP_LINE.fullmatch, log) if match]
    assert steps == ["3", "6", "8"]
    assert log.count("========num_train_samples======= 220") == 3
    assert log.count("========num_of_batches======= 27") == 3
    assert "Device ID: 0" in log and any(re.fullmatch(r"ActualLoss : \d+\.\d{4}", line) for line in log)
    assert [line.split(" : ")[0] for line in log[-5:]] == [
        "------------------ Final result ------------------", "Final Performance images/sec",
        "Final Performance sec/step", "E2E Training Duration sec", "Final Train Accuracy"]


def test_metrics(full_run):
    assert [row["step"] for row in rows(full_run, "step")] == list(range(1, 8))
    evaluations = rows(full_run, "eval")
    assert [row["step"] for row in evaluations] == [2, 5, 7]
    current = [row["inter_cls_dist_current"] for row in evaluations]
    cumulative = [row["inter_cls_dist"] for row in evaluations]
    assert cumulative == pytest.approx([np.mean(current[:count]) for count in (1, 2, 3)])
    assert rows(full_run)[-1]["kind"] == "final" and rows(full_run)[-1]["accuracy"] == evaluations[-1]["valid_accuracy"]


def test_result_file(full_run):
    values = result_file(full_run, CASE)
    assert list(values) == ["Network", "RankSize", "BatchSize", "DeviceType", "CaseName", "ActualFPS", "TrainingTime",
                            "ActualLoss", "TrainAccuracy", "E2ETrainingTime"]
    final, last = rows(full_run, "final")[0], rows(full_run, "eval")[-1]
    assert values["CaseName"] == CASE and values["BatchSize"] == "8" and values["RankSize"] == "1"
    assert float(values["ActualFPS"]) == pytest.approx(final["images_per_second"], abs=1e-3)
    assert float(values["TrainingTime"]) * float(values["ActualFPS"]) == pytest.approx(8, rel=1e-3)
    assert float(values["ActualLoss"]) == pytest.approx(last["train_loss"], abs=1e-4)
    assert float(values["TrainAccuracy"]) == pytest.approx(last["valid_accuracy"], abs=1e-4)


def test_results_file_of_the_original(full_run):
    """Two physical lines an evaluation, tabs after the colons."""
    lines = (full_run / "loss+perf_gpu.txt").read_text().split("\n")
    assert len(lines) == 7 and lines[-1] == ""
    first = rows(full_run, "eval")[0]
    assert lines[0] == (f"Step:\t3, Train_Loss:\t{first['train_loss']:.4f}, Train_Acc:\t{first['train_accuracy']:.4f}, "
                        f"Valid_Loss:\t{first['valid_loss']:.4f}, Valid_Acc:\t{first['valid_accuracy']:.4f}, "
                        f"inter_cls_dist:\t{first['inter_cls_dist']:.4f}, "
                        f"intra_cls_dist:\t{first['intra_cls_dist']:.4f}")
    assert lines[1] == f" , train_time:\t{first['train_time']:.4f}"


def test_text_files_hold_every_evaluation(full_run):
    evaluations = rows(full_run, "eval")
    losses = (full_run / f"train_{CASE}_loss.txt").read_text().split()
    assert losses == [f"{row['train_loss']:.4f}" for row in evaluations]
    times = (full_run / "train_0_traintime.txt").read_text().split()
    assert times == [f"{row['train_time']:.4f}" for row in evaluations]
    average = (full_run / "train_0_traintime_avg.txt").read_text()
    assert average == f"Avg =  {np.mean([row['train_time'] for row in evaluations]):.4f}\n"


def test_files_of_the_run_directory(full_run):
    names = {path.name for path in full_run.iterdir()} - {"evaluate", "predict", "export"}
    assert names == {".lock", "arguments.json", "metrics.jsonl", "train_0.log", f"{CASE}.log", "events", "ckpt",
                     "ckpt_npu", "plots", "mean_image.npy", "loss+perf_gpu.txt", "train_0_traintime.txt",
                     "train_0_traintime_avg.txt", f"train_{CASE}_loss.txt"}
    plots = sorted(path.name for path in (full_run / "plots").iterdir())
    assert plots == [f"features-{step}.npz" for step in (2, 5, 7)]  # of which pictures are drawn
    arguments = json.loads((full_run / "arguments.json").read_text())
    assert arguments["identity"]["pair_term"] == "element" and arguments["identity"]["recipe"] == "reference"
    assert arguments["flags"]["update_centers"] == 3 and arguments["threads"] >= 1
    assert len(arguments["identity"]["data"]) == 4 and arguments["num_updates"] == 7


def test_checkpoints_are_kept_at_the_original_moment_and_at_the_end(full_run):
    """The original saves at step == steps - 1, one update before the end, as ckpt_npu/model.ckpt."""
    original = variables_in(full_run / "ckpt_npu" / "model.ckpt")
    assert original["global_step"] == 6 and len(original) == 57
    assert os.path.exists(str(full_run / "ckpt_npu" / "model.ckpt.meta"))
    assert variables_in(full_run / "ckpt" / "model.ckpt-7")["global_step"] == 7
    from common.checkpoints.bundle import steps_in

    best = [row["step"] for row in rows(full_run, "eval") if row["best"]][-1]
    assert set(steps_in(str(full_run / "ckpt"))) == {5, 7, best}


def test_our_checkpoint_has_the_original_s_names_and_shapes(full_run):
    """What the original's Saver over all globals needs."""
    with open(os.path.join(GOLDEN, "gitloss", "gitloss_vars.json"), encoding="utf-8") as file:
        wanted = {name: tuple(shape) for name, shape in json.load(file)}
    found = variables_in(full_run / "ckpt_npu" / "model.ckpt")
    assert {name: np.shape(value) for name, value in found.items()} == wanted
    assert found["is_training"].dtype == np.bool_ and found["global_step"].dtype == np.int32


@on_the_default_leg
def test_performance_run(tmp_path, tiny_mnist_folder, capfd):
    assert train(tiny_mnist_folder, tmp_path, "--performance", "--train_steps=4") == 0
    lines = capfd.readouterr().out.splitlines()
    assert [match.group(1) for match in map(PERF_LINE.fullmatch, lines) if match] == ["5"]
    case = CASE.replace("_acc", "_perf")
    assert list(result_file(tmp_path / "0", case))[7:] == ["ActualLoss", "ActualAcc", "E2ETrainingTime"]
    (evaluation,) = rows(tmp_path / "0", "eval")
    assert "valid_loss" not in evaluation
    assert sum(line.startswith("Final Performance sec/epoch : ") for line in lines) == 1
    for kind, key in (("loss", "train_loss"), ("acc", "train_accuracy")):
        assert (tmp_path / "0" / f"train_{case}_{kind}.txt").read_text() == f"{evaluation[key]:.4f}\n"
    assert (tmp_path / "0" / "loss+perf_gpu.txt").read_text().startswith("Step:\t5, Epoch: 1, Train_Loss:\t")
    assert not os.path.exists(str(tmp_path / "0" / "ckpt_npu"))


@on_the_default_leg
def test_a_diverged_run_says_so_and_fails(tmp_path, tiny_mnist_folder, capfd):
    for _ in range(2):  # the second run resumes the first
        assert train(tiny_mnist_folder, tmp_path, "--train_steps=9", "--lambda_c=1e38") == 1
        error = capfd.readouterr().err
        assert re.search(r"\[Error\] the loss is (inf|nan) at step \d: training has diverged", error)
        assert "Traceback" not in error


def test_corrected_recipe_and_a_switch_of_its_own(tmp_path, tiny_mnist_folder, capfd):
    assert train(tiny_mnist_folder, tmp_path, "--recipe=corrected", "--eval_centers=batch_means",
                 "--train_steps=3", "--eval_interval=2") == 0
    assert "Recipe: corrected, center_term=sample, pair_term=sample, distance_centers=real, dead_variables=False, " \
           "eval_centers=batch_means, inter_cls_dist=current" in capfd.readouterr().out
    run = tmp_path / "0"
    assert len(variables_in(run / "ckpt" / "model.ckpt-3")) == 55
    for row in rows(run, "eval"):
        assert row["inter_cls_dist"] == row["inter_cls_dist_current"]


@on_the_default_leg
def test_legacy_train_time_on_request(tmp_path, tiny_mnist_folder):
    assert train(tiny_mnist_folder, tmp_path, "--train_time=evaluation", "--train_steps=3") == 0
    (evaluation,) = rows(tmp_path / "0", "eval")
    assert float(result_file(tmp_path / "0", CASE)["TrainingTime"]) == pytest.approx(evaluation["train_time"], abs=1e-6)
    assert evaluation["train_time"] <= evaluation["evaluation_seconds"]


@pytest.mark.parametrize("given, num_train, wanted", [
    ([], 55000, 7999), (["--performance"], 55000, 100), (["--steps=1000"], 55000, 999),
    (["--train_steps=20000"], 55000, 20000), (["--train_steps=50", "--steps=11"], 55000, 10),
    (["--epochs=2"], 1280, 20), (["--epochs=1"], 100, 1), (["--train_epochs=9", "--train_steps=3"], 1280, 3),
    (["--performance", "--train_steps=7"], 55000, 7),
])
def test_the_first_limit_that_was_given_ends_the_run(given, num_train, wanted):
    assert gitloss.num_updates(gitloss.define_flags().parse(given), num_train) == wanted


@pytest.mark.parametrize("flags, status, message", [
    (["--nonsense=1"], 2, "unknown flag --nonsense"),
    (["--dead_variables=false"], 2, "needs --dead_variables=true"),
    (["--over_dump", "--data_dump_flag"], 2, "exclude each other"),
    (["--init_checkpoint=/no/such"], 1, "/no/such: no such checkpoint"),
    (["--data_dump_flag"], 2, "--data_dump_step=10: the run has 1 updates and reaches none"),
    (["--lambda_c=nan"], 2, "lambda_c"),
])
def test_wrong_flags_leave_no_run_behind(tmp_path, tiny_mnist_folder, capfd, flags, status, message):
    assert train(tiny_mnist_folder, tmp_path, "--train_steps=1", *flags) == status
    assert message in error_line(capfd)
    assert not (tmp_path / "0").exists()


def test_missing_data_path(tmp_path, capfd):
    assert gitloss.main([f"--output_path={tmp_path}"]) == 1
    assert capfd.readouterr().err == '[Error] para "data_path" must be config\n'


@on_the_default_leg
def test_flags_without_effect_say_so(tmp_path, tiny_mnist_folder, capfd):
    assert train(tiny_mnist_folder, tmp_path, "--train_steps=1", "--ckpt_path=/x", "--static_shape") == 0
    out = capfd.readouterr().out
    assert "Warning: --ckpt_path has no effect" in out and "Warning: --static_shape has no effect" in out


def test_weights_can_be_taken_from_a_checkpoint(tmp_path, tiny_mnist_folder, full_run, capfd):
    prefix = str(full_run / "ckpt_npu" / "model.ckpt")
    assert train(tiny_mnist_folder, tmp_path, "--train_steps=1", f"--init_checkpoint={prefix}") == 0
    first = rows(tmp_path / "0", "step")[0]["loss"]
    assert train(tiny_mnist_folder, tmp_path, "--train_steps=1", "--resume=never") == 0
    fresh = rows(tmp_path / "0", "step")[0]["loss"]
    assert first != fresh
    assert variables_in(tmp_path / "0" / "ckpt" / "model.ckpt-1")["global_step"] == 1


@on_the_default_leg
def test_the_loss_falls(tmp_path):
    """22 digits are learned by heart: far below log(10), which the last layer's bias alone would reach."""
    tiny_mnist.make(str(tmp_path / "data"), num_train=24, num_test=10)
    assert train(tmp_path / "data", tmp_path, "--performance", "--train_steps=80", "--lambda_c=0.1",
                 "--lambda_g=0.1") == 0
    found = losses(tmp_path / "0")
    assert np.mean(found[:5]) > 2.3 and np.mean(found[-5:]) < 1.9
