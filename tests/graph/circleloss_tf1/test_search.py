"""Searching a folder of faces: ranking, the index that is kept, faces that cannot be read."""
from __future__ import annotations

import json
import os
import shutil

import pytest

from circleloss_tf1 import evaluation, predict
from circleloss_tf1.face_images import ImageFeed
from tests.graph.circleloss_tf1.conftest import face, unused_copy
from tests.programs import error_line, printed

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.fixture
def gallery(tiny_faces_folder, tmp_path):
    """Four faces, two of them of one person, one in a folder below."""
    folder = tmp_path / "gallery"
    (folder / "more").mkdir(parents=True)
    for person, number, name in (("Person_A", 1, "a1.jpg"), ("Person_A", 2, "a2.jpg"), ("Person_B", 1, "b1.jpg"),
                                 ("Person_C", 1, "more/c1.jpg")):
        shutil.copy(face(tiny_faces_folder, person, number), str(folder / name))
    return folder


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

    def counted(self, session, paths, **options):
        counts.append(len(paths))
        return embed(self, session, paths, **options)

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
    monkeypatch.setattr(ImageFeed, "decoded", None)  # no image is decoded but to be embedded
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
    assert out.count("  the same person  ") == 7  # b1.jpg was asked for, and is its own nearest
    assert f"{gallery / 'b1.jpg'}:\n   1. distance 0.0000  the same person  {gallery / 'b1.jpg'}\n" in out
    assert predict.main([*arguments, "--threshold=1e-5"]) == 0
    rows = [line for line in capfd.readouterr().out.splitlines() if ". distance " in line]
    assert {"the same person", "two people"} == {line[23:38].rstrip() for line in rows}
    assert len({line.index(str(gallery)) for line in rows}) == 1, "columns"
    assert predict.main([*arguments, "--json"]) == 0
    assert [result["query"] for result in printed(capfd)["queries"]] == [str(gallery / name) for name in ("a1.jpg",
                                                                                                        "b1.jpg")]


def test_batch_statistics_in_a_search(reference_output, gallery, tmp_path, capfd, monkeypatch):
    """The index holds for exactly its faces; the queries are embedded in a batch with others."""
    out, counts = unused_copy(reference_output, tmp_path), count_embedded(monkeypatch)
    first, error = search(gallery, out, capfd)
    assert "normalizes with the statistics of the batch, here of 32 images, so equal images can differ" in error
    assert (first["index"]["computed"], counts) == (4, [4, 5])
    again, _ = search(gallery, out, capfd)
    assert (again["index"]["computed"], counts[2:]) == (0, [5]) and again["nearest"] == first["nearest"]
    os.remove(str(gallery / "b1.jpg"))
    fewer, error = search(gallery, out, capfd)
    assert "other images; it is computed again" in error and (fewer["index"]["computed"], counts[3:]) == (3, [3, 4])


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
    shutil.copy2(repaired, str(bad))
    result, _ = search(gallery, out, capfd, status=1)
    assert list(result["left_out"]) == [str(gallery / "more" / "cut.jpg")]
    assert str(bad) in [face["image"] for face in result["nearest"]]
    assert (*(result["index"]["computed"] for result, _ in found), result["index"]["computed"]) == computed
    (gallery / "more" / "cut.jpg").unlink()
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
    assert not (out / "0" / "predict" / "prediction.json").exists()
