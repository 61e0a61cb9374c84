"""evaluate, predict and export on a run's weights and on a checkpoint that lies in no run."""
from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from common.checkpoints import onnx_model
from common.tiny_data import look_alikes
from siamese_triplet_tf2 import evaluate, export, log_lines, predict, restore
from tests.conftest import needs_onnx
from tests.figures import size_of
from tests.programs import error_line, printed
from tests.results import rows


def test_evaluate_gives_the_run_s_numbers(full_run, look_alike_folder, capfd, monkeypatch, saved_figures):
    arguments = [f"--data_path={look_alike_folder}", f"--checkpoint={full_run}", "--json"]
    assert evaluate.main([*arguments, "--projector"]) == 0
    result = printed(capfd)
    labels = (full_run / "evaluate" / "projector" / "metadata.tsv").read_text().splitlines()
    assert [line.split("\t")[1] for line in labels] == ["side", *["left"] * 6, *["right"] * 6]
    best = [row for row in rows(full_run, "eval") if row["best"]][-1]
    assert result["checkpoint"].endswith(f"ckpt/model.ckpt-{best['step']}") and result["pairs"] == 6
    for name in ("valid_loss", "triplet_accuracy", "cosine_recall_at_1", "l2_median_rank", "positive_similarity"):
        assert result[name] == pytest.approx(best[name], rel=1e-5)
    assert [found["rank"] for found in result["retrievals"]["best"]] == sorted(
        found["rank"] for found in result["retrievals"]["best"])
    assert result["retrievals"]["worst"][0]["rank"] >= result["retrievals"]["best"][-1]["rank"]
    best_shown = result["retrievals"]["best"][0]
    figure = saved_figures["retrievals.png"]
    assert figure._suptitle.get_text().replace("\n", " ") == (
        "siamese_triplet_tf2, reference, step " + result["checkpoint"].rpartition("-")[2] + ": median rank "
        f"{result['cosine_median_rank']:.1f}: image, match, nearest by cosine")
    assert [axis.get_title() for axis in figure.axes[:3]] == [
        f"{best_shown['left']}\nbest: rank {best_shown['rank']}",
        f"{best_shown['left']}\nits match: {best_shown['similarity']:.3f}",
        f"{best_shown['nearest'][0]}\n1. " + figure.axes[2].get_title().rpartition(" ")[2]]
    assert size_of(figure)[0] == 800 and len([axis for axis in figure.axes if axis.images]) == 5 * 10
    folder = full_run / "evaluate"
    assert json.loads((folder / "evaluation.json").read_text()) == result
    with Image.open(str(folder / "retrievals.png")) as sheet:
        assert sheet.format == "PNG" and sheet.size[0] > 400

    def never(*args):
        raise AssertionError("embedded again")

    monkeypatch.setattr(restore.evaluation, "embed", never)  # the embeddings are kept
    assert evaluate.main(arguments) == 0
    assert printed(capfd)["valid_loss"] == result["valid_loss"]


@pytest.mark.parametrize("others, recipe, advice", [
    (0.9999, "reference", None), (0.99996, "reference", "--recipe=corrected"), (1.0, "corrected", "learning rate"),
])
def test_embeddings_that_have_collapsed_are_noticed(others, recipe, advice):
    row = dict(positive_similarity=1.0, negative_similarity=others)
    assert log_lines.has_collapsed(row) == (advice is not None)
    assert advice is None or advice in log_lines.collapse_warning(recipe)


def test_a_damaged_or_foreign_cache_is_computed_anew(full_run, look_alike_folder, capfd):
    arguments = [f"--data_path={look_alike_folder}", f"--checkpoint={full_run}", "--json"]
    path = full_run / "evaluate" / restore.FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"PK\3\4 no archive")
    assert evaluate.main(arguments) == 0
    first = printed(capfd)["valid_loss"]
    with np.load(str(path), allow_pickle=False) as archive:
        values = dict(archive)
    values["embeddings"] = values["embeddings"] * 0
    np.savez(str(path), **{**values, "fingerprint": np.array("another checkpoint")})
    assert evaluate.main(arguments) == 0
    assert printed(capfd)["valid_loss"] == first


def test_all_pairs_of_other_data(tmp_path, full_run, capfd):
    look_alikes.make(str(tmp_path / "other"), num_pairs=7, seed=9)
    arguments = [f"--data_path={tmp_path / 'other'}", f"--checkpoint={full_run}"]
    assert evaluate.main(arguments) == 1
    assert "--data_path: not the data that the run was trained on" in capfd.readouterr().err
    assert evaluate.main([*arguments, "--pairs=all"]) == 0
    out = capfd.readouterr().out
    assert "7 pairs: loss " in out and out.startswith("Device: cpu")


def test_a_checkpoint_without_a_run(tmp_path, full_run, look_alike_folder, capfd):
    (tmp_path / "lone").mkdir()
    for name in os.listdir(str(full_run / "ckpt")):
        shutil.copy(str(full_run / "ckpt" / name), str(tmp_path / "lone"))
    lone = f"--checkpoint={tmp_path / 'lone' / 'model.ckpt-6'}"
    output = f"--output_path={tmp_path / 'out'}"
    assert evaluate.main([f"--data_path={look_alike_folder}", lone, output]) == 1
    capfd.readouterr()
    assert evaluate.main([f"--data_path={look_alike_folder}", lone, output, "--pairs=all", "--json"]) == 0
    assert printed(capfd)["pairs"] == 30
    assert (tmp_path / "out" / "evaluate" / "evaluation.json").exists()


def test_two_images_and_the_nearest_of_a_folder(tmp_path, full_run, look_alike_folder, capfd):
    query = os.path.join(look_alike_folder, "left", "00003.jpg")
    assert predict.main([f"--query={query}", f"--images={query}", f"--checkpoint={full_run}", "--json"]) == 0
    (found,) = printed(capfd)["nearest"]
    assert found["cosine"] == pytest.approx(1.0) and found["squared_distance"] == pytest.approx(0.0, abs=1e-6)

    folder = os.path.join(look_alike_folder, "right")
    arguments = [f"--query={query}", f"--checkpoint={full_run}", "--json"]
    assert predict.main([*arguments, f"--against={folder}", "--top=3"]) == 0
    nearest = printed(capfd)["nearest"]
    cosines = [item["cosine"] for item in nearest]
    assert len(nearest) == 3 and cosines == sorted(cosines, reverse=True)
    assert json.loads((full_run / "predict" / "predictions.json").read_text())["nearest"] == [found]
    assert json.loads((full_run / "predict" / "2" / "predictions.json").read_text())["nearest"] == nearest
    assert (full_run / "predict" / "2" / "nearest.png").read_bytes().startswith(b"\x89PNG")
    with np.load(str(full_run / "predict" / restore.FILE), allow_pickle=False) as archive:
        assert len(archive["keys"]) == 31 and archive["embeddings"].shape == (31, 256)  # 30 images and the query
    assert predict.main([f"--query={query}", f"--images={folder}", f"--checkpoint={full_run}"]) == 0
    out = capfd.readouterr().out
    assert out.count("cosine") == 5 and "alike" not in out
    assert f"Written: {full_run}/predict/3/predictions.json and nearest.png" in out


def test_several_queries_with_a_threshold(full_run, look_alike_folder, capfd, saved_figures):
    """Every query leaves itself out of its list; a frame shows the verdict."""
    left, right = (os.path.join(look_alike_folder, side) for side in ("left", "right"))
    queries = [os.path.join(left, f"{number:05d}.jpg") for number in (1, 2)]
    arguments = ["--query", *queries, f"--against={left},{right}", f"--checkpoint={full_run}", "--json", "--top=4"]
    assert predict.main(arguments) == 0
    found = printed(capfd)["queries"]
    cosines = sorted(image["cosine"] for result in found for image in result["nearest"])
    threshold = (cosines[3] + cosines[4]) / 2
    assert predict.main([*arguments, f"--threshold={threshold}"]) == 0
    judged = printed(capfd)["queries"]
    for result, query in zip(judged, queries):
        assert result["query"] == query and query not in [image["image"] for image in result["nearest"]]
        assert [image["alike"] for image in result["nearest"]] == [
            image["cosine"] >= threshold for image in result["nearest"]]
    assert sum(image["alike"] for result in judged for image in result["nearest"]) == 4
    titles = [axis.get_title() for axis in saved_figures["nearest.png"].axes if axis.images]
    assert titles[0] == "00001.jpg\nquery" and titles[5] == "00002.jpg\nquery"
    (first, *_), verdict = judged[0]["nearest"], {True: "alike", False: "not alike"}
    assert titles[1].endswith(f"1. cosine {first['cosine']:.3f}, {verdict[first['alike']]}")
    arguments.remove("--json")
    assert predict.main([*arguments, f"--threshold={threshold}"]) == 0
    rows = [line for line in capfd.readouterr().out.splitlines() if ". cosine " in line]
    assert [sum(f"  {name}  " in line for line in rows) for name in ("alike    ", "not alike")] == [4, 4]
    assert len({line.index(os.path.dirname(left)) for line in rows}) == 1, "columns"


@pytest.mark.parametrize("arguments, status, message", [
    ([], 2, "--query is needed: images to find similar ones for"),
    (["--query=/no/such.jpg", "--images=."], 1, "--query=/no/such.jpg: not found"),
    (["--query={folder}", "--against={folder}"], 1, "is a folder, expected a file"),
    (["--query={text}", "--images={text}"], 1, "text.jpg: has an unknown format, expected JPEG or PNG"),
])
def test_mistakes_in_prediction(tmp_path, full_run, capfd, arguments, status, message):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    arguments = [argument.format(text=text, folder=tmp_path) for argument in arguments]
    assert predict.main([*arguments, f"--checkpoint={full_run}"]) == status
    assert message in error_line(capfd)


def test_images_of_a_folder_that_cannot_be_read_are_left_out(tmp_path, full_run, look_alike_folder, capfd):
    """The rest is found, and an image that is repaired is found again, whatever its size and time."""
    folder = tmp_path / "photos"
    shutil.copytree(os.path.join(look_alike_folder, "right"), str(folder / "deep"))
    query, bad = os.path.join(look_alike_folder, "left", "00003.jpg"), folder / "deep" / "00003.jpg"
    good, time = bad.read_bytes(), os.stat(str(bad)).st_mtime_ns
    bad.write_bytes(b"x" * len(good))
    os.utime(str(bad), ns=(0, time))
    arguments = [f"--query={query}", f"--against={folder}", "--top=99", f"--checkpoint={full_run}", "--json"]
    for _ in range(2):
        assert predict.main(arguments) == 1
        message = capfd.readouterr()
        result, (warning, error) = json.loads(message.out), message.err.splitlines()
        assert warning == f"Warning: {bad}: has an unknown format, expected JPEG or PNG; left out"
        assert error == "[Error] 1 of 30 images were left out because they cannot be read; fix or remove them"
        names = [image["image"] for image in result["nearest"]]
        assert len(names) == 29 and str(bad) not in names and list(result["left_out"]) == [str(bad)]
    bad.write_bytes(good)
    os.utime(str(bad), ns=(0, time))
    assert predict.main(arguments) == 0
    repaired = printed(capfd)
    assert len(repaired["nearest"]) == 30 and repaired["left_out"] == {}
    others = [image for image in repaired["nearest"] if image["image"] != str(bad)]
    assert [image["image"] for image in others] == names
    assert [image["cosine"] for image in others] == pytest.approx([image["cosine"] for image in result["nearest"]])


def test_evaluate_names_all_images_that_cannot_be_read(tmp_path, full_run, look_alike_folder, capfd):
    shutil.copytree(look_alike_folder, str(tmp_path / "data"))
    for side in ("left", "right"):
        (tmp_path / "data" / side / "00003.jpg").write_bytes(b"no image")
    assert evaluate.main([f"--data_path={tmp_path / 'data'}", f"--checkpoint={full_run}", "--pairs=all"]) == 1
    error = error_line(capfd)
    assert "2 of 60 images cannot be used" in error and error.count("00003.jpg has an unknown format") == 2


def test_exports_agree_with_the_live_network(full_run, look_alike_folder, capfd):
    import tensorflow as tf

    assert export.main([f"--checkpoint={full_run}", "--json"]) == 0
    result = printed(capfd)
    assert result["max_difference"] < 1e-4 and result["outputs"] == ["embedding"]
    query = os.path.join(look_alike_folder, "left", "00003.jpg")
    assert predict.main([f"--query={query}", f"--images={query}", f"--checkpoint={full_run}", "--json"]) == 0
    with np.load(str(full_run / "predict" / restore.FILE), allow_pickle=False) as archive:
        wanted = archive["embeddings"][[key.endswith("00003.jpg") for key in archive["keys"]]]
    image = restore.features.load_batch([query], restore.features.Decoding(accurate=False))
    loaded = tf.saved_model.load(result["saved_model"])
    embedding = loaded.signatures["serving_default"](images=image)["embedding"].numpy()
    assert min(np.abs(row - embedding).max() for row in wanted) < 1e-4 * np.abs(embedding).max()
    assert export.main([f"--checkpoint={full_run}"]) == 0  # an earlier export is replaced
    assert "Written and checked" in capfd.readouterr().out


@needs_onnx
def test_the_onnx_model_computes_what_the_saved_model_does(full_run, look_alike_folder, capfd):
    import tensorflow as tf

    assert export.main([f"--checkpoint={full_run}", "--onnx", "--json"]) == 0
    result = printed(capfd)
    photos = [os.path.join(look_alike_folder, "left", f"0000{number}.jpg") for number in range(3)]
    images = restore.features.load_batch(photos, restore.features.Decoding(accurate=False))
    loaded = tf.saved_model.load(result["saved_model"])
    wanted = loaded.signatures["serving_default"](images=images)["embedding"].numpy()
    found = onnx_model.run(result["onnx"], dict(images=np.asarray(images)))["embedding"]
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_foreign_saved_model_is_left_alone(tmp_path, full_run, capfd):
    shutil.copytree(str(full_run / "ckpt"), str(tmp_path / "lone"))
    (tmp_path / "export" / "saved_model").mkdir(parents=True)
    (tmp_path / "export" / "saved_model" / "thesis.txt").write_text("years of work")
    assert export.main([f"--checkpoint={tmp_path / 'lone' / 'model.ckpt-6'}", f"--output_path={tmp_path}"]) == 1
    assert "not an export of this program" in capfd.readouterr().err
    assert (tmp_path / "export" / "saved_model" / "thesis.txt").exists()
