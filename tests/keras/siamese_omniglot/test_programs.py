"""evaluate, predict and export on a run's weights and on a checkpoint that lies in no run."""
from __future__ import annotations

import json
import os
import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from common.checkpoints import onnx_model
from common.errors import ZooError
from siamese_omniglot import evaluate, export, predict
from siamese_omniglot.data import one_shot_runs
from tests.conftest import needs_onnx
from tests.programs import error_line, printed
from tests.results import rows


def drawing(tiny_folder, alphabet, character, number, name):
    return os.path.join(tiny_folder, "images_background", f"Alphabet_{alphabet}", f"character{character:02d}",
                        f"{name:04d}_{number:02d}.png")


@pytest.fixture(scope="module")
def tiny_runs(tmp_path_factory, tiny_folder):
    """Two one-shot runs of three characters in the official layout; the queries of run02 are its examples."""
    folder = tmp_path_factory.mktemp("one_shot")
    for number in (1, 2):
        run = folder / f"run{number:02d}"
        for part in ("training", "test"):
            (run / part).mkdir(parents=True)
        pairs = []
        for place, character in enumerate((3, 1, 2), 1):
            shutil.copy(drawing(tiny_folder, 1, character, 1, character),
                        str(run / "training" / f"class{place:02d}.png"))
            shutil.copy(drawing(tiny_folder, 1, character, 3 - number, character),
                        str(run / "test" / f"item{4 - place:02d}.png"))
            pairs.append(f"{run.name}/test/item{4 - place:02d}.png {run.name}/training/class{place:02d}.png\n")
        (run / "class_labels.txt").write_text("".join(sorted(pairs)))
    return folder


def test_evaluate(trained, tiny_folder, tiny_runs, capfd):
    assert evaluate.main([f"--data_path={tiny_folder}", f"--output_path={trained}", f"--one_shot={tiny_runs}", "--json",
                          "--part=all", "--num_pairs=40", "--episodes=4", "--device=cpu", "--projector"]) == 0
    result = printed(capfd)
    folder = trained / "0" / "evaluate"
    assert json.loads((folder / "evaluation.json").read_text()) == result
    assert {"evaluation.json", "roc.png", "one_shot.png"} <= set(os.listdir(str(folder)))
    assert result["pairs"]["num_pairs"] == 40 and result["drawings"] == 120
    names = (folder / "projector" / "metadata.tsv").read_text().splitlines()
    assert names[:2] == ["alphabet\tcharacter\timage", "Alphabet_1\tcharacter01\t0001_01.png"] and len(names) == 121
    found = {(row["n_way"], row["k_shot"]): row for row in result["few_shot"]}
    assert found[5, 5]["episodes"] == 4 and 0 <= found[5, 1]["accuracy"] <= 1
    assert found[20, 1]["accuracy"] is None and found[20, 1]["characters"] == 15
    assert set(result["official_one_shot"]["runs"]) == {"run01", "run02"}


def test_evaluate_gives_the_run_s_numbers(trained, tiny_folder, capfd):
    """On as many pairs of the validation part as training drew, with its seed, the numbers are those of training."""
    best = [row for row in rows(trained / "0", "eval") if row["best"]][-1]
    assert evaluate.main([f"--data_path={tiny_folder}", f"--output_path={trained}", "--device=cpu", "--episodes=2",
                          f"--num_pairs={best['num_pairs']}", "--json"]) == 0
    result = printed(capfd)
    assert result["checkpoint"].endswith(f"model.ckpt-{best['step']}") and result["split"] == "image"
    if result["drawings"] and not _last_character_validates(tiny_folder):
        assert result["pairs"]["loss"] == pytest.approx(best["val_loss"], rel=1e-5)


def test_episodes_that_cannot_be_drawn_name_the_flag_that_helps():
    result = dict(split="image", pairs=dict(accuracy=1, accuracy_error=0, num_pairs=2, loss=0, eer=0, auc=1), few_shot=[
        dict(n_way=20, k_shot=5, accuracy=None, characters=3)])
    assert evaluate.lines(result)[1] == ("20-way 5-shot: n/a, 3 characters have enough drawings; --part=all draws from "
                                         "all characters")
    assert evaluate.lines(dict(result, split="all"))[1].endswith("enough drawings")


def _last_character_validates(tiny_folder):
    from siamese_omniglot.data import omniglot

    data = omniglot.load(omniglot.find(tiny_folder, "/"))
    return bool(np.any(data.labels[omniglot.split(data, "image").validation] == data.labels[-1]))


def test_an_identical_query_is_never_further_than_another(trained, tiny_runs):
    """|f - f| = 0 gives every pair of equal drawings one and the same logit."""
    import tensorflow as tf

    from common.keras import checkpoints
    from siamese_omniglot.nets import siamese

    network = siamese.build("conv4", "tf", seed=0)
    checkpoints.restore_all(str(trained / "0" / "ckpt" / "model.ckpt-54"), network.named_variables())
    run = one_shot_runs.load(str(tiny_runs))[1]
    assert run.name == "run02" and np.array_equal(run.queries, run.classes[run.answers])
    logits = network.logits(tf.constant(run.queries), tf.constant(run.classes[run.answers])).numpy()
    np.testing.assert_allclose(logits, logits[0], atol=1e-5)


def test_runs_of_a_zip_are_those_of_the_folder(tiny_runs, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "all_runs"), "zip", str(tiny_runs.parent), tiny_runs.name)
    with zipfile.ZipFile(archive, "a") as opened:  # as macOS packs it
        opened.writestr(f"__MACOSX/{tiny_runs.name}/run01/class_labels.txt", b"\0")
        opened.writestr(f"{tiny_runs.name}/run01/._class_labels.txt", b"\0")
    assert len(one_shot_runs.load(archive)) == len(one_shot_runs.load(str(tiny_runs)))
    for one, other in zip(one_shot_runs.load(archive), one_shot_runs.load(str(tiny_runs))):
        assert one.name == other.name and np.array_equal(one.answers, other.answers)
        assert np.array_equal(one.queries, other.queries) and np.array_equal(one.classes, other.classes)


def test_a_damaged_zip_is_named(tiny_runs, tmp_path):
    """Every kind of damage within a compressed file: bytes changed, or the file cut short."""
    path = tmp_path / "runs.zip"
    with zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run01/class_labels.txt", "run01/test/item01.png run01/training/class01.png\n" * 50)
    content = path.read_bytes()
    start = content.index(b"class_labels.txt") + len("class_labels.txt")
    for damaged in (content[:start] + b"\xff" * 8 + content[start + 8:], content[:start + 4], b"PK"):
        path.write_bytes(damaged)
        with pytest.raises(ZooError, match="runs.zip: the one-shot runs cannot be read"):
            one_shot_runs.load(str(path))


def test_the_official_runs(shared_data):
    """20 runs of 20 classes, every class asked for once."""
    runs = one_shot_runs.load(shared_data("omniglot/one_shot_all_runs.zip"))
    assert [run.name for run in runs] == [f"run{number:02d}" for number in range(1, 21)]
    for run in runs:
        assert run.classes.shape == run.queries.shape == (20, 105, 105)
        assert sorted(run.answers) == list(range(20))


def replace_by_a_pipe(folder):
    path = folder / "run01" / "test" / "item01.png"
    path.unlink()
    os.mkfifo(str(path))


@pytest.mark.parametrize("spoil, message", [
    (lambda folder: (folder / "run01" / "class_labels.txt").write_text("one\n"), "class_labels.txt is damaged"),
    (lambda folder: (folder / "run01" / "test" / "item01.png").write_bytes(b"x"), "item01.png: not a readable image"),
    (lambda folder: (folder / "run02" / "test" / "item01.png").unlink(), "cannot be read"),
    (lambda folder: [path.unlink() for path in folder.glob("*/class_labels.txt")], "holds no one-shot runs"),
    (lambda folder: (folder / "run01" / "class_labels.txt").write_text("run01/../../x.png run01/training/class01.png"),
     "class_labels.txt is damaged, expected two file names a line, runNN/test/itemMM.png"),
    (lambda folder: (folder / "run01" / "test" / "item01.png").write_bytes(b"x" * (1 << 21)),
     "more than 1048576 bytes"),
    (replace_by_a_pipe, "item01.png: not a file"),
])
def test_damaged_runs_are_named(tiny_runs, tmp_path, capfd, trained, tiny_folder, spoil, message):
    shutil.copytree(str(tiny_runs), str(tmp_path / "runs"))
    spoil(tmp_path / "runs")
    assert evaluate.main([f"--data_path={tiny_folder}", f"--output_path={trained}", f"--one_shot={tmp_path / 'runs'}"]
                         ) == 1
    assert message in error_line(capfd)


def test_predict(trained, tiny_folder, tmp_path, capfd):
    image = drawing(tiny_folder, 1, 1, 1, 1)
    assert predict.main([f"--image={image}", f"--other={os.path.dirname(image)}", f"--output_path={trained}", "--json",
                         "--device=cpu"]) == 0
    result = printed(capfd)
    values = [row["similarity"] for row in result["similarities"]]
    assert len(values) == 7 and image not in [row["other"] for row in result["similarities"]], "without the query"
    assert values == sorted(values, reverse=True) and all(0 < value < 1 for value in values)
    assert [row["same"] for row in result["similarities"]] == [value >= 0.5 for value in values]
    assert predict.main([f"--image={image}", f"--other={os.path.dirname(image)}", f"--output_path={trained}",
                         "--device=cpu", f"--threshold={values[1]}", "--top=3"]) == 0
    verdicts = re.findall(r"similarity 0\.\d{3}, (the same|another) character", capfd.readouterr().out)
    assert verdicts == ["the same", "the same", "another"]
    folder = trained / "0" / "predict"
    assert json.loads((folder / "predictions.json").read_text()) == result, "the first result is as it was"
    assert len(json.loads((folder / "2" / "predictions.json").read_text())["similarities"]) == 7
    (tmp_path / "alone").mkdir()
    shutil.copy(image, str(tmp_path / "alone" / "a.png"))
    assert predict.main([f"--image={tmp_path / 'alone' / 'a.png'}", f"--other={tmp_path / 'alone'}",
                         f"--output_path={trained}"]) == 1
    assert "holds no image besides the query" in error_line(capfd)
    other = drawing(tiny_folder, 2, 1, 1, 6)
    large = Image.open(other).convert("L").resize((210, 210), 0)
    Image.fromarray(255 - np.asarray(large)).save(str(tmp_path / "large.png"))
    Image.fromarray(255 - np.asarray(Image.open(image).convert("L"))).save(str(tmp_path / "image.png"))
    found = []
    for arguments in ([f"--image={image}", f"--other={other}"],
                      [f"--image={tmp_path / 'image.png'}", f"--other={tmp_path / 'large.png'}", "--invert"]):
        assert predict.main([*arguments, f"--output_path={trained}", "--json", "--device=cpu"]) == 0
        found.append(printed(capfd)["similarities"][0]["similarity"])
    assert found[0] == pytest.approx(found[1], abs=0.05)


def test_drawings_of_a_folder_that_cannot_be_read_are_left_out(trained, tiny_folder, tmp_path, capfd):
    query = drawing(tiny_folder, 1, 1, 1, 1)
    shutil.copytree(os.path.dirname(query), str(tmp_path / "drawings"))
    bad = tmp_path / "drawings" / os.path.basename(drawing(tiny_folder, 1, 1, 2, 1))
    arguments = [f"--query={query}", f"--against={tmp_path / 'drawings'}", f"--output_path={trained}", "--json"]
    assert predict.main(arguments) == 0
    wanted, good = printed(capfd)["similarities"], bad.read_bytes()
    bad.write_bytes(good[:40])
    assert predict.main(arguments) == 1
    message = capfd.readouterr()
    result, (warning, error) = json.loads(message.out), message.err.splitlines()
    assert warning.startswith(f"Warning: {bad}: not a readable image (") and warning.endswith("; left out")
    assert error == (f"[Error] 1 of {len(wanted)} images were left out because they cannot be read; fix or remove them")
    assert list(result["left_out"]) == [str(bad)]
    assert result["similarities"] == [dict(row, similarity=pytest.approx(row["similarity"], abs=1e-5))
                                      for row in wanted if row["other"] != str(bad)]
    assert predict.main([*arguments, f"--query={bad}"]) == 1
    assert f"{bad}: not a readable image" in error_line(capfd)
    bad.write_bytes(good)
    assert predict.main(arguments) == 0 and len(printed(capfd)["similarities"]) == len(wanted)


def test_predict_draws_several_queries_with_frames(trained, tiny_folder, capfd, saved_figures):
    """Each query leaves itself out of its list; a frame shows the verdict."""
    pytest.importorskip("matplotlib")
    queries = [drawing(tiny_folder, 1, 1, number, 1) for number in (1, 2)]
    folder = os.path.dirname(queries[0])
    assert predict.main(["--query", *queries, f"--against={folder},{drawing(tiny_folder, 2, 1, 1, 6)}", "--top=3",
                         f"--output_path={trained}", "--threshold=0.9", "--json"]) == 0
    found = printed(capfd)["queries"]
    assert [result["image"] for result in found] == queries
    for result in found:
        others = {row["other"] for row in result["similarities"]}
        assert len(others) == 8 and others & set(queries) == set(queries) - {result["image"]}
    assert found[0]["similarities"][-1] != found[1]["similarities"][-1]
    figure = saved_figures["similarity.png"]
    titles = [axis.get_title() for axis in figure.axes if axis.images]
    for start, result in zip((0, 4), found):
        assert titles[start].endswith("\nquery") and titles[start + 1:start + 4] == [
            f"{os.path.basename(row['other'])}\n{place}. {row['similarity']:.3f}, "
            f"{'same' if row['same'] else 'another'}" for place, row in enumerate(result["similarities"][:3], 1)]
    assert figure._suptitle.get_text().startswith("siamese_omniglot, ")


def test_drawings_of_another_size_are_resized_by_their_short_side(tmp_path):
    Image.new("L", (300, 210), 255).save(str(tmp_path / "wide.png"))
    assert predict.read(str(tmp_path / "wide.png")).shape == (105, 105)


def test_a_drawing_is_read_as_a_viewer_shows_it(tmp_path):
    """Stored on its side, and transparent but for the strokes."""
    wanted = np.full((105, 105), 255, np.uint8)
    wanted[10:90, 20:25] = wanted[80:85, 20:60] = 0  # an L
    stored, exif = Image.fromarray(wanted).transpose(Image.ROTATE_90), Image.Exif()
    drawing = Image.new("LA", stored.size)
    drawing.putalpha(stored.point(lambda value: 255 - value))
    exif[0x0112] = 6
    drawing.save(str(tmp_path / "l.png"), exif=exif)
    assert np.array_equal(predict.read(str(tmp_path / "l.png")), wanted)
    assert not predict.read(str(tmp_path / "l.png"), "black").any()



def test_export_runs_without_the_repository(trained, tiny_folder, capfd):
    import tensorflow as tf

    assert export.main([f"--output_path={trained}", "--json"]) == 0
    result = printed(capfd)
    assert result["max_difference"] <= 1e-4 and result["inputs"] == ["first", "second"]
    pair = [drawing(tiny_folder, 1, 1, 1, 1), drawing(tiny_folder, 1, 1, 2, 1)]
    pixels = [tf.constant(np.asarray(Image.open(path).convert("L"), np.float32)[None] / 255.0) for path in pair]
    loaded = tf.saved_model.load(result["saved_model"])
    found = loaded.signatures["serving_default"](first=pixels[0], second=pixels[1])["similarity"].numpy()[0]
    assert predict.main([f"--image={pair[0]}", f"--other={pair[1]}", f"--output_path={trained}", "--json",
                         "--device=cpu"]) == 0
    assert printed(capfd)["similarities"][0]["similarity"] == pytest.approx(float(found), abs=1e-5)


@needs_onnx
def test_the_onnx_model_computes_what_predict_does(trained, tiny_folder, capfd):
    assert export.main([f"--output_path={trained}", "--onnx", "--json"]) == 0
    result = printed(capfd)
    pair = [drawing(tiny_folder, 1, 1, 1, 1), drawing(tiny_folder, 1, 2, 1, 2)]
    first, second = (np.asarray(Image.open(path).convert("L"), np.float32)[None] / 255.0 for path in pair)
    found = onnx_model.run(result["onnx"], dict(first=first, second=second))["similarity"][0]
    assert predict.main([f"--image={pair[0]}", f"--other={pair[1]}", f"--output_path={trained}", "--json",
                         "--device=cpu"]) == 0
    assert printed(capfd)["similarities"][0]["similarity"] == pytest.approx(float(found), abs=1e-5)


def test_a_checkpoint_without_a_run_needs_to_be_told_its_network(trained, tmp_path, capfd):
    for name in os.listdir(str(trained / "0" / "ckpt")):
        shutil.copy(str(trained / "0" / "ckpt" / name), str(tmp_path))
    arguments = [f"--checkpoint={tmp_path / 'model.ckpt-54'}", f"--output_path={tmp_path / 'out'}"]
    assert export.main([*arguments, "--backbone=conv4"]) == 0
    assert (tmp_path / "out" / "export" / "siamese.tflite").exists()
    assert export.main(arguments) == 1
    assert "block1_conv1/kernel is missing" in capfd.readouterr().err


@pytest.mark.parametrize("program, arguments, status, message", [
    (predict, [], 2, "--query is needed"),
    (predict, ["--image=/no/such.png", "--other=/no"], 1, "not found"),
    (evaluate, [], 1, 'para "data_path" must be config'),
    (export, ["--checkpoint=/no/such"], 1, "/no/such: not found (no /no/such.index, no run directory)"),
])
def test_mistakes_are_one_line(trained, capfd, program, arguments, status, message):
    assert program.main([*arguments, f"--output_path={trained}"]) == status
    assert message in error_line(capfd)
