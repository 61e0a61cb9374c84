"""evaluate, predict and export on a run's weights and on a checkpoint that lies in no run."""
from __future__ import annotations

import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from common.checkpoints import exporting, onnx_model
from common.tiny_data import mnist as tiny_mnist
from gitloss_tf1 import evaluate, export, mnist, predict
from tests.conftest import needs_onnx
from tests.graph.frozen import run_frozen
from tests.programs import error_line, printed, tree
from tests.results import rows, variables_in


@pytest.fixture
def lone_checkpoint(tmp_path, output):
    """The checkpoint under the original's name, outside of any run."""
    shutil.copytree(str(output / "0" / "ckpt_npu"), str(tmp_path / "lone"))
    return str(tmp_path / "lone" / "model.ckpt")


def test_evaluate_gives_the_run_s_numbers(output, tiny_mnist_folder, capfd):
    before = tree(output)
    assert evaluate.main([f"--data_path={tiny_mnist_folder}", f"--output_path={output}", "--json"]) == 0
    result = printed(capfd)
    best = [row for row in rows(output / "0", "eval") if row["best"]][-1]
    assert result["checkpoint"].endswith(f"ckpt/model.ckpt-{best['step']}")
    assert result["validation"]["accuracy"] == best["valid_accuracy"]
    assert result["validation"]["total"] == pytest.approx(best["valid_loss"], rel=1e-6)
    assert result["test"]["accuracy"] == best["test_accuracy"]
    assert result["intra_cls_dist"] == pytest.approx(best["intra_cls_dist"], rel=1e-6)
    assert json.loads((output / "0" / "evaluate" / "evaluation.json").read_text()) == result
    after = tree(output)
    assert {path for path in after if before.get(path) != after[path]} == {
        str(output / "0" / "evaluate" / name) for name in ("evaluation.json", "features.png")}


def test_programs_say_where_they_compute(output, tiny_mnist_folder, capfd):
    for program, arguments in ((evaluate, [f"--data_path={tiny_mnist_folder}"]),
                               (predict, [f"--images={tiny_mnist_folder}/t10k-images-idx3-ubyte.gz"]), (export, [])):
        assert program.main([f"--output_path={output}", *arguments]) == 0
        assert capfd.readouterr().out.startswith("Device: cpu | TensorFlow ")


def test_two_images_can_be_evaluated(tmp_path, lone_checkpoint, capfd):
    """Classes that are points have no ratio; JSON says null."""
    tiny_mnist.make(str(tmp_path / "two"), num_train=2, num_test=1)
    assert evaluate.main([f"--data_path={tmp_path / 'two'}", f"--checkpoint={lone_checkpoint}", "--json",
                          f"--output_path={tmp_path / 'out'}"]) == 0
    assert printed(capfd)["inter_to_intra"] is None


def test_evaluate_a_checkpoint_without_a_run(tmp_path, lone_checkpoint, tiny_mnist_folder, capfd):
    assert evaluate.main([f"--data_path={tiny_mnist_folder}", f"--checkpoint={lone_checkpoint}",
                          f"--output_path={tmp_path / 'out'}", "--projector"]) == 0
    folder = tmp_path / "out" / "evaluate"
    assert (folder / "evaluation.json").exists()
    assert "Validation: loss" in capfd.readouterr().out
    labels = [int(line.split("\t")[0]) for line in (folder / "projector" / "metadata.tsv").read_text().splitlines()[1:]]
    assert labels == mnist.load(tiny_mnist_folder).train.labels.tolist()


def test_predict_images(tmp_path, output, tiny_mnist_folder, capfd):
    digits = mnist.load(tiny_mnist_folder).test.images[:3, ..., 0]
    folder = tmp_path / "digits"
    folder.mkdir()
    Image.fromarray(digits[0]).save(str(folder / "a.png"))
    Image.fromarray(digits[1]).convert("RGB").save(str(folder / "b.bmp"))
    (folder / "notes.txt").write_text("no image")
    assert predict.main([f"--images={folder}", f"--output_path={output}", "--json"]) == 0
    predictions = printed(capfd)["predictions"]
    assert [item["image"] for item in predictions] == ["a.png", "b.bmp"]
    assert all(0 <= item["label"] <= 9 and len(item["feature"]) == 2 for item in predictions)
    assert all(0.1 <= item["probability"] <= 1 for item in predictions)  # the largest of ten

    idx = os.path.join(tiny_mnist_folder, "t10k-images-idx3-ubyte.gz")
    assert predict.main([f"--images={idx}", f"--output_path={output}", "--json", "--top=10"]) == 0
    from_idx = printed(capfd)["predictions"]
    for item in from_idx:
        listed = [(digit["probability"], digit["label"]) for digit in item["most_likely"]]
        assert listed == sorted(listed, reverse=True) and {label for _, label in listed} == set(range(10))
        assert listed[0] == (item["probability"], item["label"])
        assert sum(share for share, _ in listed) == pytest.approx(1.0)
    assert len(from_idx) == 40 and from_idx[0]["image"] == "t10k-images-idx3-ubyte.gz[0]"
    for one, other in zip(predictions, from_idx):
        assert one["label"] == other["label"]
        np.testing.assert_allclose(one["feature"], other["feature"], rtol=1e-4, atol=1e-5)


def test_predicted_distances_are_those_to_the_trained_centers(output, tiny_mnist_folder, capfd):
    idx = os.path.join(tiny_mnist_folder, "t10k-images-idx3-ubyte.gz")
    assert predict.main([f"--images={idx}", f"--checkpoint={output / '0' / 'ckpt' / 'model.ckpt-7'}", "--json"]) == 0
    prediction = printed(capfd)["predictions"][0]
    centers = variables_in(output / "0" / "ckpt" / "model.ckpt-7")["loss/centers"]
    wanted = np.linalg.norm(np.array(prediction["feature"]) - centers, axis=1)
    np.testing.assert_allclose(prediction["center_distances"], wanted, rtol=1e-5)


def test_predict_inverts_on_request(tmp_path, output, tiny_mnist_folder, capfd):
    digit = mnist.load(tiny_mnist_folder).test.images[0, ..., 0]
    for name, pixels in (("white.png", digit), ("black.png", 255 - digit)):
        Image.fromarray(pixels).save(str(tmp_path / name))
    assert predict.main([f"--images={tmp_path / 'white.png'}", f"--output_path={output}", "--json"]) == 0
    white = printed(capfd)["predictions"][0]
    assert predict.main([f"--images={tmp_path / 'black.png'}", "--invert", f"--output_path={output}", "--json"]) == 0
    black = printed(capfd)["predictions"][0]
    assert white["feature"] == black["feature"]


def test_export_runs_without_the_repository(output, tiny_mnist_folder, capfd):
    assert export.main([f"--output_path={output}", "--json"]) == 0
    result = printed(capfd)
    assert result["max_difference"] <= 1e-5
    assert (result["inputs"], result["outputs"]) == (["images"], ["features", "logits", "probabilities"])
    scaled = mnist.load(tiny_mnist_folder).test.images[:6].astype(np.float32) / 255.0
    features, probabilities = run_frozen(result["frozen_graph"], ["features", "probabilities"], dict(images=scaled))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    idx = os.path.join(tiny_mnist_folder, "t10k-images-idx3-ubyte.gz")
    assert predict.main([f"--images={idx}", f"--output_path={output}", "--json"]) == 0
    predictions = printed(capfd)["predictions"][:6]
    np.testing.assert_allclose(features, [item["feature"] for item in predictions], rtol=1e-4, atol=1e-5)
    assert probabilities.argmax(axis=1).tolist() == [item["label"] for item in predictions]
    assert export.main([f"--output_path={output}"]) == 0  # an earlier export is replaced


@needs_onnx
def test_the_onnx_model_computes_what_predict_does(output, tiny_mnist_folder, capfd, monkeypatch):
    begun = []
    monkeypatch.setattr(exporting.Stages, "begin", lambda shown, name: begun.append((name, shown._total)))
    assert export.main([f"--output_path={output}", "--onnx"]) == 0
    assert begun == [(name, 4) for name in ("frozen graph", "SavedModel", "check", "ONNX model")]
    out = capfd.readouterr().out
    assert re.search(r"checked in ONNX Runtime \(largest difference \d\.\de-0[5-9] of the largest output\):\n  .*"
                     r"git_loss\.onnx$", out, re.MULTILINE)
    scaled = mnist.load(tiny_mnist_folder).test.images[:6].astype(np.float32) / 255.0
    found = onnx_model.run(str(output / "0" / "export" / "git_loss.onnx"), dict(images=scaled))
    idx = os.path.join(tiny_mnist_folder, "t10k-images-idx3-ubyte.gz")
    assert predict.main([f"--images={idx}", f"--output_path={output}", "--json"]) == 0
    predictions = printed(capfd)["predictions"][:6]
    np.testing.assert_allclose(found["features"], [item["feature"] for item in predictions], rtol=1e-4, atol=1e-5)
    assert found["probabilities"].argmax(axis=1).tolist() == [item["label"] for item in predictions]


def test_export_a_checkpoint_without_a_run(tmp_path, lone_checkpoint, tiny_mnist_folder, capfd):
    arguments = [f"--checkpoint={lone_checkpoint}", f"--output_path={tmp_path / 'out'}"]
    assert export.main(arguments) == 2
    assert "--data_path is needed" in capfd.readouterr().err
    assert export.main([*arguments, f"--data_path={tiny_mnist_folder}"]) == 0
    assert (tmp_path / "out" / "export" / "git_loss.pb").exists()


@pytest.mark.parametrize("program, arguments, status, message", [
    (predict, [], 2, "--images is needed"),
    (predict, ["--images=/no/such.png"], 1, "not found"),
    (evaluate, [], 1, 'para "data_path" must be config'),
    (evaluate, ["--data_path=/no/such"], 1, "not found"),
    (export, ["--checkpoint=/no/such"], 1, "/no/such: not found (no /no/such.index, no run directory)"),
    (export, ["--nonsense"], 2, "unknown flag --nonsense"),
])
def test_mistakes_are_one_line(output, capfd, program, arguments, status, message):
    assert program.main([*arguments, f"--output_path={output}"]) == status
    assert message in error_line(capfd)


def test_no_training_yet(tmp_path, tiny_mnist_folder, capfd):
    assert export.main([f"--output_path={tmp_path}"]) == 1
    assert capfd.readouterr().err == (f"[Error] {tmp_path / '0'}: no run found; train first, or give "
                                      "--checkpoint=FILE or RUN_DIR, or --checkpoint=pretrained\n")
    assert list(tmp_path.iterdir()) == []


def test_images_of_a_folder_that_cannot_be_read_are_left_out(tmp_path, output, tiny_mnist_folder, capfd):
    digits = mnist.load(tiny_mnist_folder).test.images[:3, ..., 0]
    (tmp_path / "digits" / "more").mkdir(parents=True)
    paths = [tmp_path / "digits" / name for name in ("1.png", "2.png", "more/3.png")]
    for path, digit in zip(paths, digits):
        Image.fromarray(digit).save(str(path))
    arguments = [f"--images={tmp_path / 'digits'}", f"--output_path={output}", "--json"]
    assert predict.main(arguments) == 0
    wanted, good = printed(capfd)["predictions"], paths[1].read_bytes()
    paths[1].write_bytes(good[:60])
    assert predict.main(arguments) == 1
    message = capfd.readouterr()
    result, (warning, error) = json.loads(message.out), message.err.splitlines()
    assert warning.startswith(f"Warning: {paths[1]}: not a readable image (") and warning.endswith("; left out")
    assert error == "[Error] 1 of 3 images were left out because they cannot be read; fix or remove them"
    assert list(result["left_out"]) == [str(paths[1])]
    assert [item["image"] for item in result["predictions"]] == ["1.png", "3.png"]
    np.testing.assert_allclose([item["feature"] for item in result["predictions"]],
                               [item["feature"] for item in wanted[::2]], rtol=1e-4, atol=1e-5)
    assert predict.main([f"--images={paths[1]},{tmp_path / 'digits'}", f"--output_path={output}"]) == 1
    assert f"{paths[1]}: not a readable image" in error_line(capfd)
    paths[1].write_bytes(good)
    assert predict.main(arguments) == 0
    assert [item["image"] for item in printed(capfd)["predictions"]] == ["1.png", "2.png", "3.png"]


def test_damaged_inputs_are_named(tmp_path, output, tiny_mnist_folder, capfd):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert predict.main([f"--images={tmp_path / 'bad.png'}", f"--output_path={output}"]) == 1
    assert "bad.png: not a readable image" in capfd.readouterr().err
    shutil.copytree(str(output), str(tmp_path / "copy"))
    for path in (tmp_path / "copy" / "0" / "ckpt").glob("*.data-*"):
        os.truncate(str(path), 50)
    assert export.main([f"--output_path={tmp_path / 'copy'}"]) == 1
    assert "is damaged" in capfd.readouterr().err
    (tmp_path / "copy" / "0" / "mean_image.npy").write_bytes(b"\x93NUMPY")
    assert export.main([f"--output_path={tmp_path / 'copy'}"]) == 1
    assert "mean_image.npy: cannot be read" in capfd.readouterr().err
    (tmp_path / "copy" / "0" / "mean_image.npy").write_bytes(b"PK\x03\x04 no archive")
    assert export.main([f"--output_path={tmp_path / 'copy'}"]) == 1
    assert "mean_image.npy: cannot be read" in capfd.readouterr().err


def test_an_export_removes_only_what_an_export_made(tmp_path, output, capfd):
    shutil.copytree(str(output), str(tmp_path / "copy"))
    folder = tmp_path / "copy" / "0" / "export" / "saved_model"
    if folder.exists():
        shutil.rmtree(str(folder))
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    (folder / "thesis.txt").write_text("mine")
    assert export.main([f"--output_path={tmp_path / 'copy'}"]) == 1
    assert "not an export of this program, so it is left alone" in capfd.readouterr().err
    assert (folder / "thesis.txt").read_text() == "mine"
