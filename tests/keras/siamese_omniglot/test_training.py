"""The train entry from flags to files, in this process, on a few drawn characters."""
from __future__ import annotations

import ast
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from siamese_omniglot.run_scripts import run_siamese_train
from tests.conftest import on_the_default_leg
from tests.keras.siamese_omniglot.conftest import train
from tests.programs import error_line, run_python
from tests.results import losses, result_file, rows

TRAIN_KEYS = ["total_loss", "accuracy", "train.lr", "train.data_time", "train.compute_time", "train.fp_time",
              "train.bp_time", "train.grad_time", "train.ips"]
PUBLISHED = ("--model_name Siamese --batch_size 32 --lr 1e-2 --device sdaa --epoch 50 --distributed False --use_amp "
             "True --train_data_path datasets")


@pytest.fixture(scope="module")
def run(trained):
    return trained / "0"


def test_the_published_commands():
    """Every value of them arrives; `--distributed False --use_amp True` above all."""
    flags = run_siamese_train.define_flags().parse(PUBLISHED.split())
    assert (flags.model_name, flags.batch_size, flags.lr, flags.device) == ("Siamese", 32, 0.01, "sdaa")
    assert (flags.epochs, flags.distributed, flags.use_amp, flags.data_path) == (50, False, True, "datasets")
    flags = run_siamese_train.define_flags().parse(
        (PUBLISHED.replace("--distributed False", "--nproc_per_node 3 --distributed True")).split())
    assert (flags.nproc_per_node, flags.distributed, flags.use_amp) == (3, True, True)


@pytest.mark.parametrize("argument, name, value", [
    ("--bs=4", "batch_size", 4), ("--learning-rate=0.5", "lr", 0.5), ("--step=7", "step", 7), ("--step=-1", "step", -1),
    ("--nnode=2", "nnode", 2), ("--node_rank=1", "node_rank", 1), ("--master_addr=10.0.0.1", "master_addr", "10.0.0.1"),
    ("--master_port=1234", "master_port", 1234), ("--num_workers=0", "num_workers", 0),
    ("--autocast=y", "use_amp", True), ("--warm_up=2.5", "warm_up", 2.5), ("--early_stop=3", "early_stop", 3),
    ("--checkpoint_path=x", "init_checkpoint", "x"),
    ("--use_amp=f", "use_amp", False), ("--train_data_path=d", "data_path", "d"),
])
def test_flags_of_the_original(argument, name, value):
    assert getattr(run_siamese_train.define_flags().parse([argument]), name) == value


@pytest.mark.parametrize("name", ["grad_scale", "do_eval", "do_predict", "train_annotation_path", "val_data_path",
                                  "val_pairs_path", "static_shape"])
def test_flags_without_effect_say_so(name):
    flags = run_siamese_train.define_flags()
    flags.parse([f"--{name}=true"])
    assert [line.split(". ")[0] for line in flags.warnings()] == [f"Warning: --{name} has no effect"]


def test_log(run):
    log = (run / "train_0.log").read_text().splitlines()
    assert re.fullmatch(r"Device: cpu \| TensorFlow [\d.]+ \| adapter none \| precision float32", log[0])
    assert [line for line in log if line.startswith("Epoch:")] == ["Epoch:1/3", "Epoch:2/3", "Epoch:3/3"]
    evaluations = rows(run, "eval")
    losses = [f"Total Loss: {row['train_loss']:.3f} || Val Loss: {row['val_loss']:.3f} " for row in evaluations]
    assert [line for line in log if line.startswith("Total Loss")] == losses
    assert sum(line == "Save best model to best_epoch_weights.weights.h5" for line in log) == sum(
        row["best"] for row in evaluations)
    first = log.index("Finish Train")
    assert log[first + 1] == "Start Validation" and log[first + 3] == "Finish Validation"
    assert [line.split(" : ")[0] for line in log[-6:-1]] == [
        "------------------ Final result ------------------", "Final Performance images/sec",
        "Final Performance sec/step", "E2E Training Duration sec", "Final Train Accuracy"]
    assert log[-1] == f"Logs and weights: {run / 'logs'}"


def test_json_log(run):
    """Metadata first, then running means since the epoch began, as strings in a string."""
    lines = (run / "logs" / "dlloger_example.json").read_text().splitlines()
    assert all(line.startswith("TCAPPDLL {") for line in lines)
    content = [json.loads(line[len("TCAPPDLL "):]) for line in lines]
    assert [row["metric"] for row in content[:9]] == TRAIN_KEYS
    logs = [row for row in content if row["type"] == "LOG"]
    assert len(logs) == 3 * 18 + 3 and len(content) == len(logs) + 9
    steps = rows(run, "step")
    assert logs[0]["step"] == [0, 0] and logs[17]["step"] == [0, 17] and logs[19]["step"] == [1, 0]
    data = ast.literal_eval(logs[17]["data"])
    assert list(data) == TRAIN_KEYS and all(isinstance(value, str) for value in data.values())
    for key, source in (("total_loss", "loss"), ("accuracy", "accuracy"), ("train.data_time", "data_seconds"),
                        ("train.compute_time", "compute_seconds"), ("train.fp_time", "forward_seconds")):
        assert float(data[key]) == pytest.approx(np.mean([row[source] for row in steps[:18]]), abs=1e-6)
    seconds = sum(row["step_seconds"] for row in steps[:18])
    assert float(data["train.ips"]) == pytest.approx(18 * 6 * 4 / seconds, rel=1e-3)
    made = [row for row in rows(run) if row["kind"] in ("step", "eval")]
    assert [float(row["timestamp"]) for row in logs] == pytest.approx([row["unix_seconds"] for row in made], abs=1e-5)
    assert [float(row["elapsedtime"]) for row in logs] == pytest.approx([row["seconds"] for row in made], abs=1e-5)
    validation = ast.literal_eval(logs[18]["data"])
    assert list(validation) == ["val_loss", "val_accuracy", "val_ips", "val_time"]
    assert float(validation["val_loss"]) == pytest.approx(rows(run, "eval")[0]["val_loss"], abs=1e-6)


def test_times_of_a_step_add_up(run):
    for row in rows(run, "step")[5:]:
        parts = row["forward_seconds"] + row["backward_seconds"] + row["update_seconds"]
        assert 0 < parts <= row["compute_seconds"] and row["backward_seconds"] > 0 and row["update_seconds"] > 0
        assert row["step_seconds"] == pytest.approx(row["data_seconds"] + row["compute_seconds"])


def test_learning_rates_of_the_epochs(run):
    found = [row["learning_rate"] for row in rows(run, "step")[::18]]
    assert found == pytest.approx([5e-5, 5e-4, 5e-6])  # 5e-3 for 64 is clamped to 5e-4 for 6; one epoch of warm-up


def test_result_file(run):
    values = result_file(run, "Siamese_bs6_1p_acc")
    final, last = rows(run, "final")[0], rows(run, "eval")[-1]
    assert float(values["ActualFPS"]) * float(values["TrainingTime"]) == pytest.approx(4 * 6, rel=1e-3)
    assert float(values["TrainAccuracy"]) == pytest.approx(last["val_accuracy"], abs=1e-4)
    assert float(values["ActualLoss"]) == pytest.approx(last["train_loss"], abs=1e-4)
    assert final["images_per_second"] == pytest.approx(float(values["ActualFPS"]), abs=1e-3)


def test_weight_files_and_curves(run):
    evaluations = rows(run, "eval")
    names = sorted(path.name for path in (run / "logs").iterdir())
    last = evaluations[-1]
    loss_folder = [name for name in names if re.fullmatch(r"loss_\d{4}(_\d\d){5}", name)]
    assert names == sorted(["best_epoch_weights.weights.h5", "last_epoch_weights.weights.h5", "dlloger_example.json",
                            f"ep003-loss{last['train_loss']:.3f}-val_loss{last['val_loss']:.3f}.weights.h5",
                            *loss_folder])
    folder = run / "logs" / loss_folder[0]
    assert run_python("-m", "common.zoo", "report", run).returncode == 0  # draws the curves
    assert sorted(path.name for path in folder.iterdir()) == ["epoch_loss.png", "epoch_loss.txt", "epoch_val_loss.txt"]
    assert list(map(float, (folder / "epoch_val_loss.txt").read_text().split())) == [
        row["val_loss"] for row in evaluations]
    assert list(map(float, (folder / "epoch_loss.txt").read_text().split())) == [
        row["train_loss"] for row in evaluations]


def test_the_last_weights_are_the_last_checkpoint_s(run):
    from common.keras.checkpoints import read
    from siamese_omniglot.nets import siamese

    network = siamese.build("conv4", "tf", seed=9)
    network.chain.load_weights(str(run / "logs" / "last_epoch_weights.weights.h5"))
    variables = network.named_variables()
    saved = read(str(run / "ckpt" / "model.ckpt-54"), {name: value.dtype for name, value in variables.items()})
    for name, value in variables.items():
        np.testing.assert_array_equal(np.asarray(value), saved[name].numpy())


def test_an_evaluation_is_of_half_and_half_pairs(run):
    for row in rows(run, "eval"):
        assert row["num_pairs"] == 2 * 12 and 0 <= row["val_eer"] <= 1
        assert row["val_accuracy_error"] == pytest.approx(np.sqrt(row["val_accuracy"] * (1 - row["val_accuracy"]) / 24))


@on_the_default_leg
def test_early_stop_and_recipe(tmp_path, tiny_folder, capfd, monkeypatch):
    """The validation losses are made to rise from the second evaluation on."""
    from siamese_omniglot import evaluation

    real, losses = evaluation.pair_result, iter([0.7, 0.6, 0.8, 0.9])
    monkeypatch.setattr(evaluation, "pair_result", lambda *arguments: dict(real(*arguments), loss=next(losses)))
    assert train(tiny_folder, tmp_path, "--recipe=corrected", "--split=character", "--augment=none", "--epochs=9",
                 "--lr_decay=step", "--optimizer=adam", "--early_stop=2", "--batch_size=36", "--num_workers=0") == 0
    out = capfd.readouterr().out
    assert "Recipe: corrected, head=tf, split=character, use_all_characters=True, augment=none" in out
    assert "Early stop: no better validation loss for 2 epochs." in out
    assert [row["best"] for row in rows(tmp_path / "0", "eval")] == [True, True, False, False]
    assert rows(tmp_path / "0", "final")[0]["step"] == 4 * (104 // 36)
    last = rows(tmp_path / "0", "eval")[-1]["train_loss"]
    weights = {path.name for path in (tmp_path / "0" / "logs").glob("*.h5")}
    assert weights == {"best_epoch_weights.weights.h5", "last_epoch_weights.weights.h5",
                       f"ep004-loss{last:.3f}-val_loss0.900.weights.h5"}


def test_torch_head_and_performance(tmp_path, tiny_folder, capfd):
    assert train(tiny_folder, tmp_path, "--head=torch", "--performance", "--step=3", "--epochs=2", "--use_amp=True",
                 "--device=sdaa", "--master_port=1", "--data_dump_flag", "--data_dump_step=2") == 0
    out = capfd.readouterr().out
    for line in ("Warning: --device=sdaa is treated as auto", "use_amp: a CPU computes in float32",
                 "Warning: --step=3 with --epochs=2: at most one epoch is trained",
                 "Warning: --master_port has no effect on one machine", "Final Train Accuracy : n/a"):
        assert line in out
    run = tmp_path / "0"
    assert len(rows(run, "step")) == 3 and rows(run, "eval") == []
    assert (run / "Siamese_bs6_1p_perf.log").exists()
    assert json.loads((run / "arguments.json").read_text())["identity"]["weight_decay"] == 5e-4
    logits = np.load(str(run / "data_dump" / "step-2" / "logits.npy"))
    assert logits.shape == (12,) and (run / "data_dump" / "step-2" / "gradient.dense.kernel.npy").exists()


def test_init_checkpoint(tmp_path, tiny_folder, trained, capfd):
    prefix = str(trained / "0" / "ckpt" / "model.ckpt-54")
    assert train(tiny_folder, tmp_path, f"--checkpoint_path={prefix}", "--train_steps=1") == 0
    assert train(tiny_folder, tmp_path / "x", f"--init_checkpoint={tmp_path}/none", "--train_steps=1") == 1
    assert "no such checkpoint" in capfd.readouterr().err


@pytest.mark.parametrize("flags, status, message", [
    (["--model_name=facenet"], 2, "--model_name=facenet: this program trains Siamese"),
    (["--nproc_per_node=2"], 2, "needs --distributed=True"),
    (["--nproc_per_node=8", "--distributed=True"], 2, "the 8 processes share a batch"),
    (["--batch_size=200"], 2, "only 108 training drawings"),
    (["--weights=/no/such.h5"], 1, "--weights=/no/such.h5: no such file"),
    (["--data_path=/no/such"], 1, "not found"),
    (["--data_path="], 1, 'para "data_path" must be config'),
    (["--device=gpu"], 1, "sees no GPU"),
])
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, tiny_folder, capfd, flags, status, message):
    assert train(tiny_folder, tmp_path / "out", *flags) == status
    assert message in error_line(capfd)
    assert not (tmp_path / "out").exists()


@on_the_default_leg
def test_an_overflow_is_named(tmp_path, tiny_folder, capfd, monkeypatch):
    import tensorflow as tf

    from siamese_omniglot.nets import siamese

    monkeypatch.setattr(siamese, "pair_losses", lambda logits, labels, head: tf.math.log(-tf.abs(logits) - 1.0))
    assert train(tiny_folder, tmp_path / "a", "--train_steps=1") == 1
    assert "training has diverged" in capfd.readouterr().err
    for augment in ("imagenet", "affine"):
        assert train(tiny_folder, tmp_path / augment, "--train_steps=1", "--over_dump", f"--augment={augment}") == 1
        assert "overflow at step 1: op" in capfd.readouterr().err


@on_the_default_leg
def test_weights_are_not_written_to_a_full_disk(tmp_path, tiny_folder, capfd, monkeypatch):
    """HDF5 would crash the process."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=500_000))
    assert train(tiny_folder, tmp_path, "--train_steps=1") == 1
    assert "No space left on device" in error_line(capfd)
    assert not list(tmp_path.glob("0/logs/*.h5"))


@on_the_default_leg
def test_the_loss_falls(tmp_path, tiny_folder):
    """From log(2), which says nothing of any pair."""
    assert train(tiny_folder, tmp_path, "--performance", "--train_steps=40", "--batch_size=12", "--lr=1e-2",
                 "--optimizer=adam", "--augment=none") == 0
    found = losses(tmp_path / "0")
    assert np.mean(found[:5]) == pytest.approx(np.log(2), abs=0.05) and np.mean(found[-5:]) < 0.4
