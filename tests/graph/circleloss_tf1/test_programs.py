"""evaluate, predict and export on a run's weights, and on the original's layout in no run."""
from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from circleloss_tf1 import evaluate, evaluation, export, lfw_from_bin, lfw_to_bin, predict
from common.checkpoints import onnx_model
from tests.conftest import needs_onnx
from tests.graph.circleloss_tf1.conftest import train
from tests.graph.frozen import run_frozen
from tests.programs import error_line, printed, tree
from tests.results import rows

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.fixture(scope="module")
def output(tmp_path_factory, tiny_faces_folder):
    """Output folder with a finished run of the corrected recipe, small images."""
    folder = tmp_path_factory.mktemp("trained")
    assert train(tiny_faces_folder, folder, "--train_steps=3", "--epoch_size=2", "--recipe=corrected",
                 "--image_size=32", "--lfw_batch_size=16") == 0
    return folder


@pytest.fixture(scope="module")
def reference_output(tmp_path_factory, tiny_faces_folder):
    """The same of the reference recipe, without LFW."""
    folder = tmp_path_factory.mktemp("reference")
    data = os.path.join(tiny_faces_folder, "MS-Celeb-1M_clean_align")
    assert train(data, folder, "--batch_size=4", "--train_steps=1") == 0
    return folder


def face(folder, person="Person_A", number=1):
    return os.path.join(folder, "lfw-deepfunneled_align", person, f"{person}_{number:04d}.jpg")


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
    assert "statistics of the batch, here of two images" in capfd.readouterr().err
    assert evaluate.main([f"--data_path={tiny_faces_folder}", f"--output_path={reference_output}", "--projector"]) == 0
    assert "Accuracy: " in capfd.readouterr().out
    people = (reference_output / "0" / "evaluate" / "projector" / "metadata.tsv").read_text().splitlines()
    assert people[:2] == ["person\timage", "Person_A\tPerson_A_0001.jpg"] and len(set(people)) == len(people)
    assert predict.main(arguments) == 0
    assert capfd.readouterr().err == ""


@pytest.fixture
def gallery(tiny_faces_folder, tmp_path):
    """Four faces, two of them of one person, one in a folder below."""
    folder = tmp_path / "gallery"
    (folder / "more").mkdir(parents=True)
    for person, number, name in (("Person_A", 1, "a1.jpg"), ("Person_A", 2, "a2.jpg"), ("Person_B", 1, "b1.jpg"),
                                 ("Person_C", 1, "more/c1.jpg")):
        shutil.copy(face(tiny_faces_folder, person, number), str(folder / name))
    return folder


def unused_copy(output, tmp_path):
    """A copy of an output folder without what evaluate and predict have written."""
    shutil.copytree(str(output), str(tmp_path / "copy"), ignore=shutil.ignore_patterns("evaluate", "predict"))
    return tmp_path / "copy"


def search(gallery, output, capfd, *flags, status=0):
    """Search for the first face among all; return the result and what stderr says."""
    found = predict.main([f"--query={gallery / 'a1.jpg'}", f"--against={gallery}", f"--output_path={output}", "--json",
                           *flags])
    message = capfd.readouterr()
    assert found == status, message.err
    return json.loads(message.out), message.err


def count_embedded(monkeypatch):
    """Return a list that gets the number of images of each call of the embedder."""
    counts, embed = [], evaluation.Embedder.embed

    def counted(self, paths, *rest):
        counts.append(len(paths))
        return embed(self, paths, *rest)

    monkeypatch.setattr(evaluation.Embedder, "embed", counted)
    return counts


def test_search_ranks_by_the_distance_of_the_pairs(output, gallery, tmp_path, capfd, saved_figures):
    """One to many gives the distances and verdicts of one to one, in order, without the query."""
    out = unused_copy(output, tmp_path)
    result, error = search(gallery, out, capfd)
    assert error == "" and result["threshold"] is None  # which a search does without
    pairs = {}
    for name in ("a2.jpg", "b1.jpg", "more/c1.jpg"):
        assert predict.main([f"--query={gallery / 'a1.jpg'}", f"--against={gallery / name}", "--threshold=1", "--json",
                             f"--output_path={out}"]) == 0
        pairs[str(gallery / name)] = printed(capfd)["distance"]
    order = sorted(pairs, key=lambda path: pairs[path])
    assert [found["image"] for found in result["nearest"]] == order
    assert all(found["same"] is None for found in result["nearest"])
    threshold = (pairs[order[0]] + pairs[order[1]]) / 2
    judged, _ = search(gallery, out, capfd, f"--threshold={threshold}", "--top=2")
    assert [found["same"] for found in judged["nearest"]] == [True, False]
    for found in (*result["nearest"], *judged["nearest"]):
        assert found["distance"] == pytest.approx(pairs[found["image"]], abs=1e-5)
    titles = [axis.get_title() for axis in saved_figures["nearest.png"].axes if axis.images]
    assert titles == ["a1.jpg\nquery"] + [
        f"{os.path.basename(path)}\n{place}. distance {judged['nearest'][place - 1]['distance']:.4f}, {verdict}"
        for place, path, verdict in zip((1, 2), order, ("same", "other"))]
    assert json.loads((out / "0" / "predict" / "prediction.json").read_text()) == result, "results are numbered"
    assert json.loads((out / "0" / "predict" / "5" / "prediction.json").read_text()) == judged


def test_a_search_keeps_its_index(output, gallery, tiny_faces_folder, tmp_path, capfd, monkeypatch):
    out, counts = unused_copy(output, tmp_path), count_embedded(monkeypatch)
    first, error = search(gallery, out, capfd)
    index = out / "0" / "predict" / "embeddings.npz"
    assert first["index"] == dict(path=str(index), images=4, computed=4) and (counts, error) == ([4], "")
    again, _ = search(gallery, out, capfd)
    assert (again["index"]["computed"], counts) == (0, [4]) and again["nearest"] == first["nearest"]

    shutil.copy(face(tiny_faces_folder, "Person_D"), str(gallery / "d1.jpg"))  # a new face, and another content
    shutil.copy(face(tiny_faces_folder, "Person_E"), str(gallery / "b1.jpg"))
    changed, error = search(gallery, out, capfd)
    assert (changed["index"]["computed"], counts, error) == (2, [4, 2], "")
    distances = [{found["image"]: found["distance"] for found in result["nearest"]} for result in (first, changed)]
    assert distances[0][str(gallery / "a2.jpg")] == distances[1][str(gallery / "a2.jpg")]
    assert distances[0][str(gallery / "b1.jpg")] != distances[1][str(gallery / "b1.jpg")]

    index.write_bytes(index.read_bytes()[:-50])
    repaired, error = search(gallery, out, capfd)
    assert f"Notice: {index}: is damaged" in error and repaired["index"]["computed"] == 5
    assert repaired["nearest"] == [dict(found, distance=pytest.approx(found["distance"], abs=1e-5))
                                   for found in changed["nearest"]]
    _, error = search(gallery, out, capfd, f"--checkpoint={out / '0' / 'ckpt' / 'model.ckpt-3'}", "--ema_evaluation")
    assert "is of another checkpoint, other settings or other images" in error


def test_several_queries_and_lines(output, gallery, capfd):
    arguments = ["--query", str(gallery / "a1.jpg"), str(gallery / "b1.jpg"), f"--output_path={output}",
                 f"--images={gallery},{gallery / 'b1.jpg'}", "--threshold=4"]
    assert predict.main(arguments) == 0
    out = capfd.readouterr().out
    assert "of 4 embeddings computed now" in out and "Threshold: 4.0000\n" in out
    assert out.count(", the same person") == 7  # b1.jpg was asked for, and is its own nearest
    assert f"{gallery / 'b1.jpg'}:\n  1. {gallery / 'b1.jpg'}: distance 0.0000, the same person\n" in out
    assert predict.main([*arguments, "--json"]) == 0
    assert [result["query"] for result in printed(capfd)["queries"]] == [str(gallery / name) for name in ("a1.jpg",
                                                                                                        "b1.jpg")]


def test_batch_statistics_in_a_search(reference_output, gallery, tmp_path, capfd, monkeypatch):
    """The index holds for exactly its faces; the queries are embedded in a batch with others."""
    out, counts = unused_copy(reference_output, tmp_path), count_embedded(monkeypatch)
    first, error = search(gallery, out, capfd)
    assert "normalizes with the statistics of the batch, here of the faces of --against" in error
    assert (first["index"]["computed"], counts) == (4, [4, 5])
    again, _ = search(gallery, out, capfd)
    assert (again["index"]["computed"], counts[2:]) == (0, [5]) and again["nearest"] == first["nearest"]
    os.remove(str(gallery / "b1.jpg"))
    fewer, error = search(gallery, out, capfd)
    assert "other images; it is computed anew" in error and (fewer["index"]["computed"], counts[3:]) == (3, [3, 4])


@pytest.mark.parametrize("kind, computed", [("output", (4, 0, 1)), ("reference_output", (4, 0, 5))])
def test_faces_that_cannot_be_read_are_left_out(request, kind, computed, gallery, tiny_faces_folder, tmp_path, capfd):
    """The rest is found as if they were not there, and a face that is repaired is found again, whatever its time."""
    out = unused_copy(request.getfixturevalue(kind), tmp_path)
    repaired, bad = face(tiny_faces_folder, "Person_D"), gallery / "a3.jpg"
    shutil.copy2(repaired, str(bad))
    bad.write_bytes(b"x" * os.path.getsize(repaired))
    os.utime(str(bad), ns=(0, os.stat(repaired).st_mtime_ns))
    (gallery / "more" / "cut.jpg").write_bytes((gallery / "a2.jpg").read_bytes()[:300])
    found = [search(gallery, out, capfd, status=1) for _ in range(2)]
    for result, error in found:
        lines = error.splitlines()
        assert any(line.startswith(f"Warning: {bad}: ") and "has an unknown format, expected JPEG or PNG" in line
                   and line.endswith("; left out") for line in lines)
        assert error.count("more/cut.jpg: not a readable image (") == 1 and error.count("left out") == 3
        assert lines[-1] == ("[Error] 2 of 6 images were left out because they cannot be read; fix or remove them")
        assert set(result["left_out"]) == {str(bad), str(gallery / "more" / "cut.jpg")}
        assert [face["image"] for face in result["nearest"]] == [face["image"] for face in found[0][0]["nearest"]]
    (gallery / "more" / "cut.jpg").unlink()
    shutil.copy2(repaired, str(bad))
    result, error = search(gallery, out, capfd)
    assert result["left_out"] == {} and str(bad) in [face["image"] for face in result["nearest"]]
    assert (*(result["index"]["computed"] for result, _ in found), result["index"]["computed"]) == computed
    bad.unlink()
    without, _ = search(gallery, unused_copy(request.getfixturevalue(kind), tmp_path / "again"), capfd)
    assert without["nearest"] == [dict(face, distance=pytest.approx(face["distance"], abs=1e-5))
                                  for face in found[0][0]["nearest"]]


def test_named_faces_have_to_be_readable(output, gallery, tmp_path, capfd):
    bad, out = gallery / "bad.jpg", unused_copy(output, tmp_path)
    bad.write_bytes(b"no image")
    for arguments in ((f"--query={bad}", f"--against={gallery}"),
                      (f"--query={gallery / 'a1.jpg'}", f"--against={bad},{gallery}")):
        assert predict.main([*arguments, f"--output_path={out}"]) == 1
        assert f"{bad}: not a readable image" in error_line(capfd)
    (gallery / "bad").mkdir()
    bad.rename(gallery / "bad" / "bad.jpg")
    assert predict.main([f"--query={gallery / 'a1.jpg'}", f"--against={gallery / 'bad'}", f"--output_path={out}"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == "[Error] none of 1 images can be read"
    assert not (out / "0" / "predict").exists()


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
    (predict, ["--first={face}", "--second={face}", "--far=2"], 2, "--far=2.0: expected 0 to 1"),
    (evaluate, [], 1, 'para "data_path" must be config'), (evaluate, ["--data_path=/no/such"], 1, "not found"),
    (evaluate, ["--data_path={train}"], 1, "holds no lfw-deepfunneled_align"),
    (export, ["--checkpoint=/no/such"], 1, "neither /no/such.index nor a run directory"),
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
    (b"\0" * 7, "has 7 bytes, which are no float32 [40, dim]"),
    (np.full((40, 4), np.nan, "<f4").tobytes(), "not finite"),
])
def test_bad_output_files_are_one_line(output, tiny_faces_folder, tmp_path, capfd, content, message):
    assert lfw_to_bin.main([f"--data_path={tiny_faces_folder}", f"--output_path={output}", "--lfw_batch_size=40"]) == 0
    if content is not None:
        (tmp_path / "000000.bin").write_bytes(content)
    assert lfw_from_bin.main([f"--bin_path={tmp_path}", f"--output_path={output}"]) == 1
    assert message in error_line(capfd)
