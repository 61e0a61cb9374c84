"""evaluate, predict and export on a run's weights, and on the original's layout in no run."""
from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from circleloss_tf1 import evaluate, export, lfw_from_bin, lfw_to_bin, predict
from common.checkpoints import onnx_model
from tests.conftest import needs_onnx
from tests.graph.circleloss_tf1.conftest import face, unused_copy
from tests.graph.frozen import run_frozen
from tests.programs import error_line, printed, tree
from tests.results import rows

pytestmark = pytest.mark.usefixtures("one_block")


def test_evaluate_gives_the_run_s_numbers_and_predict_uses_them(output, tiny_faces_folder, capfd):
    before = tree(output)
    assert evaluate.main([f"--data_path={tiny_faces_folder}", f"--output_path={output}", "--json"]) == 0
    result = printed(capfd)
    assert result["threshold"] == result["thresholds"]["best_accuracy"]
    best = [row for row in rows(output / "0", "eval") if row["best"]][-1]
    assert result["checkpoint"].endswith(f"ckpt/model.ckpt-{best['step']}") and result["batch_size"] == 16
    for key in ("lfw_accuracy", "lfw_val_rate", "lfw_equal_error_rate"):
        assert result[key] == best[key]
    assert json.loads((output / "0" / "evaluate" / "evaluation.json").read_text()) == result
    assert len(result["worst_pairs"]) <= 10
    lines = (output / "0" / "evaluate" / "pairs.csv").read_text().splitlines()
    assert lines[0] == "first,second,same,distance" and len(lines) == 21
    new = {path for path, time in tree(output).items() if before.get(path) != time}
    assert new == {str(output / "0" / "evaluate" / name) for name in (
        "evaluation.json", "pairs.csv", "roc.png", "distances.png", "worst_pairs.png")}

    row = next(line.split(",") for line in lines[1:] if line.split(",")[0] != line.split(",")[1])
    arguments = [f"--first={row[0]}", f"--second={row[1]}", f"--output_path={output}", "--json"]
    assert predict.main([*arguments, "--far=0.1"]) == 0
    found = printed(capfd)
    assert found["distance"] == pytest.approx(float(row[3]), abs=1e-5)
    different = np.array([float(line.split(",")[3]) for line in lines[1:] if line.split(",")[2] == "0"])
    assert np.mean(different < found["threshold"]) <= 0.1 + 1 / 10
    assert found["same"] == (found["distance"] < found["threshold"])
    assert predict.main([*arguments, "--threshold=4"]) == 0
    assert printed(capfd)["same"] is True
    assert predict.main(arguments) == 0  # ten different pairs do not resolve FAR 0.001
    found = printed(capfd)
    assert (found["threshold"], found["threshold_by"]) == (result["thresholds"]["best_accuracy"], "accuracy")
    assert predict.main([*arguments, "--far=0.001"]) == 0
    message = capfd.readouterr()
    assert json.loads(message.out)["threshold"] == result["thresholds"]["at_far"]
    assert "10 different pairs cannot resolve FAR 0.001" in message.err


def test_a_face_equals_itself(output, tiny_faces_folder, tmp_path, capfd):
    arguments = [f"--first={face(tiny_faces_folder)}", f"--second={face(tiny_faces_folder)}",
                 f"--output_path={unused_copy(output, tmp_path)}"]
    assert predict.main(arguments) == 1
    assert "run evaluate.py first, or give --threshold" in capfd.readouterr().err
    assert predict.main([*arguments, "--threshold=0.1"]) == 0
    assert "the same person: distance 0.0000" in capfd.readouterr().out


def test_batch_statistics_of_two_images_are_warned_about(reference_output, tiny_faces_folder, capfd):
    """A pair alone is warned about; after an evaluation it is looked at among LFW's images."""
    arguments = [f"--first={face(tiny_faces_folder)}", f"--second={face(tiny_faces_folder, 'Person_B')}",
                 f"--output_path={reference_output}"]
    assert predict.main([*arguments, "--threshold=1"]) == 0
    assert "statistics of the batch, here of 2 images; run evaluate.py" in capfd.readouterr().err
    assert evaluate.main([f"--data_path={tiny_faces_folder}", f"--output_path={reference_output}", "--projector"]) == 0
    assert "Accuracy: " in capfd.readouterr().out
    people = (reference_output / "0" / "evaluate" / "projector" / "metadata.tsv").read_text().splitlines()
    assert people[:2] == ["person\timage", "Person_A\tPerson_A_0001.jpg"] and len(set(people)) == len(people)
    assert predict.main(arguments) == 0
    assert capfd.readouterr().err == ""
    evaluation = [f"--data_path={tiny_faces_folder}", f"--output_path={reference_output}", "--lfw_batch_size=4"]
    assert evaluate.main(evaluation) == predict.main(arguments) == 0
    assert "statistics of the batch, here of 4 images; run evaluate.py" in capfd.readouterr().err


def frozen(path, images):
    return run_frozen(path, ["embeddings"], dict(images=images))[0]


def test_export_with_moving_statistics(output, tiny_faces_folder, capfd):
    """The frozen graph embeds each image for itself, and as evaluate does."""
    assert export.main([f"--output_path={output}", "--json"]) == 0
    result = printed(capfd)
    assert result["max_difference"] <= 1e-5 and result["batch_norm"] == "moving"
    images = np.random.RandomState(0).rand(3, 32, 32, 3).astype(np.float32)
    together = frozen(result["frozen_graph"], images)
    assert together.shape == (3, 128)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(frozen(result["frozen_graph"], images[:1]), together[:1], atol=1e-5)
    assert export.main([f"--output_path={output}", "--ema_evaluation"]) == 0  # an earlier export is replaced
    assert np.abs(frozen(result["frozen_graph"], images) - together).max() > 1e-5


@needs_onnx
@pytest.mark.parametrize("folder", [  # moving and batch statistics
    "output", pytest.param("reference_output", marks=pytest.mark.slow)])
def test_the_onnx_model_computes_what_the_frozen_graph_does(request, folder, capfd):
    path = request.getfixturevalue(folder)
    capfd.readouterr()
    assert export.main([f"--output_path={path}", "--onnx", "--json"]) == 0
    result = printed(capfd)
    side = 32 if folder == "output" else 112
    images = np.random.RandomState(1).uniform(-1, 1, (5, side, side, 3)).astype(np.float32)
    np.testing.assert_allclose(onnx_model.run(result["onnx"], dict(images=images))["embeddings"],
                               frozen(result["frozen_graph"], images), atol=1e-5)


def test_export_with_batch_statistics_of_the_original_s_layout(reference_output, tmp_path, capfd):
    (index,) = (reference_output / "0" / "models").glob("*.index")
    for path in (reference_output / "0" / "models").glob("model-*.ckpt-*"):
        shutil.copy(str(path), str(tmp_path))
    lone = str(tmp_path / index.name)
    arguments = [f"--checkpoint={lone}", f"--output_path={tmp_path / 'out'}"]
    assert export.main([*arguments, "--model_def=models.resnet10"]) == 0
    assert "Batch normalization uses batch statistics" in capfd.readouterr().out
    images = np.random.RandomState(0).rand(2, 112, 112, 3).astype(np.float32)
    path = str(tmp_path / "out" / "export" / "circle_loss.pb")
    assert np.abs(frozen(path, images)[:1] - frozen(path, images[:1])).max() > 1e-4
    assert export.main([f"--checkpoint={lone}", f"--output_path={tmp_path / 'out2'}"]) == 1
    assert "is it a checkpoint of this model?" in capfd.readouterr().err  # it is no resnet34


def test_moving_statistics_that_never_moved_are_refused(reference_output, capfd):
    assert export.main([f"--output_path={reference_output}", "--batch_norm=moving"]) == 2
    assert "leaves the moving statistics where they began" in capfd.readouterr().err


@pytest.mark.parametrize("program, arguments, status, message", [
    (predict, [], 2, "--query is needed"),
    (predict, ["--first=/no/such.png", "--second=/no"], 1, "--query=/no/such.png: not found"),
    (predict, ["--first={train}", "--second={face}"], 1, "is a folder, expected a file"),
    (predict, ["--first={face}", "--second={face},/no"], 1, "--against=/no: not found"),
    (predict, ["--first={face}", "--second={face}", "--far=2"], 2, "expected a number in the range [0.0, 1.0]"),
    (evaluate, [], 1, 'para "data_path" must be config'), (evaluate, ["--data_path=/no/such"], 1, "not found"),
    (evaluate, ["--data_path={train}"], 1, "holds no lfw-deepfunneled_align"),
    (export, ["--checkpoint=/no/such"], 1, "/no/such: not found (no /no/such.index, no run directory)"),
    (export, ["--nonsense"], 2, "unknown flag --nonsense"),
])
def test_mistakes_are_one_line(output, tiny_faces_folder, capfd, program, arguments, status, message):
    names = dict(face=face(tiny_faces_folder), train=os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align"))
    assert program.main([*(argument.format(**names) for argument in arguments), f"--output_path={output}"]) == status
    assert message in error_line(capfd)


def test_damaged_images_are_named(output, tiny_faces_folder, tmp_path, capfd):
    shutil.copytree(tiny_faces_folder, str(tmp_path / "data"))
    with open(face(str(tmp_path / "data"), "Person_A", 1), "wb") as file:
        file.write(b"no image")
    assert predict.main([f"--first={face(str(tmp_path / 'data'))}", f"--second={face(tiny_faces_folder)}",
                         "--threshold=1", f"--output_path={output}"]) == 1
    assert "Person_A_0001.jpg: not a readable image" in capfd.readouterr().err


def test_offline_inference_round_trip(output, tiny_faces_folder, tmp_path, capfd):
    """The exported graph, run on the .bin files alone, gives the numbers of evaluate.py."""
    assert evaluate.main([f"--data_path={tiny_faces_folder}", f"--output_path={output}", "--json"]) == 0
    wanted = printed(capfd)
    assert lfw_to_bin.main([f"--data_path={tiny_faces_folder}", f"--output_path={output}", "--lfw_batch_size=3",
                            "--json"]) == 0
    written = printed(capfd)
    assert written["images"] == 40 and written["batches"] == 14
    assert export.main([f"--output_path={output}", "--json"]) == 0
    _run_on_bin(printed(capfd)["frozen_graph"], written["folder"], str(tmp_path))
    assert lfw_from_bin.main([f"--bin_path={tmp_path}", f"--output_path={output}", "--json"]) == 0
    found = printed(capfd)
    for key in ("lfw_accuracy", "lfw_val_rate", "lfw_equal_error_rate"):
        assert found[key] == pytest.approx(wanted[key], abs=1e-6)
    assert found["lfw_threshold"] == pytest.approx(wanted["lfw_threshold"], abs=0.0101)
    assert json.loads((output / "0" / "export" / "lfw_bin" / "accuracy.json").read_text()) == found
    assert lfw_to_bin.main([f"--data_path={tiny_faces_folder}", f"--output_path={output}", "--lfw_batch_size=40"]) == 0
    assert [name for name in os.listdir(written["folder"]) if name.endswith(".bin")] == ["000000.bin"]


def _run_on_bin(graph_path, folder, out):
    """What an offline runtime does: each input file through the graph, each output to a file."""
    for name in sorted(os.listdir(folder)):
        if name.endswith(".bin"):
            images = np.fromfile(os.path.join(folder, name), "<f4").reshape(3, 32, 32, 3)
            frozen(graph_path, images).tofile(os.path.join(out, name.replace(".bin", "_output_0.bin")))


@pytest.mark.parametrize("content, message", [
    (None, "0 files 000000*.bin, expected one"),
    (b"\0" * 7, "has 7 bytes, expected float32 [40, dim]"),
    (np.full((40, 4), np.nan, "<f4").tobytes(), "not finite"),
])
def test_bad_output_files_are_one_line(output, tiny_faces_folder, tmp_path, capfd, content, message):
    assert lfw_to_bin.main([f"--data_path={tiny_faces_folder}", f"--output_path={output}", "--lfw_batch_size=40"]) == 0
    if content is not None:
        (tmp_path / "000000.bin").write_bytes(content)
    assert lfw_from_bin.main([f"--bin_path={tmp_path}", f"--output_path={output}"]) == 1
    assert message in error_line(capfd)
