"""Track, evaluate and export with the weights of one run, or with those of both branches."""
from __future__ import annotations

import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from common.checkpoints import onnx_model, trained
from common.graph import export as graph_export
from common.graph.compat import tf
from sa_siam_tf1 import configuration, evaluate, export, predict, restore
from sa_siam_tf1.configuration import ModelConfig, TrackConfig, TrainConfig
from sa_siam_tf1.embeddings import sa_siam
from sa_siam_tf1.inference import frames, otb, track
from tests.conftest import needs_onnx
from tests.graph.frozen import run_frozen
from tests.graph.sa_siam_tf1.conftest import train, write_video
from tests.graph.sa_siam_tf1.narrow import CHANNELS
from tests.programs import printed
from tests.results import last_variables

pytestmark = pytest.mark.usefixtures("narrow")


def test_the_original_s_checkpoints_take_the_configuration_of_their_run(appearance_run, tmp_path):
    track_config = TrackConfig(scale_step=1.02)
    configuration.save(str(tmp_path), ModelConfig(response_scale=0.002), track_config)
    shutil.copy(str(appearance_run / "0" / "arguments.json"), str(tmp_path))
    (tmp_path / "track_model_checkpoints").symlink_to(appearance_run / "0" / "track_model_checkpoints")
    flags = track.define_flags().parse(
        ["--sequence=S", f"--checkpoint={tmp_path}/track_model_checkpoints/SA-Siam-Appearance/model.ckpt-1"])
    checkpoint = trained.choose(flags, "/no/sa_siam_tf1", "predict")
    assert checkpoint.output_folder == str(tmp_path / "predict")
    weights = restore.tracker_weights(flags, checkpoint)
    assert (weights.model, weights.track) == (ModelConfig(response_scale=0.002), track_config)

    given = tmp_path / "given"  # as gen-sa-siam-cfg.py writes it, with one value changed
    given.mkdir()
    configuration.save(str(given), ModelConfig(branch="both"), TrainConfig(epoch=0), TrackConfig(num_scales=5))
    flags = track.define_flags().parse(["--sequence=S", f"--checkpoint={checkpoint.prefix}", f"--config={given}"])
    weights = restore.tracker_weights(flags, checkpoint)
    assert (weights.model, weights.track) == (ModelConfig(), TrackConfig(num_scales=5))


@pytest.fixture(scope="module")
def sequence(tmp_path_factory, tiny_videos):
    """A sequence of five frames: the second is missing, the third gray, the fourth of 16 bits, the fifth larger."""
    folder = tmp_path_factory.mktemp("sequence") / "Odd"
    shutil.copytree(str(tiny_videos / "OTB" / "Drawn1"), str(folder))
    image = {number: folder / "img" / f"{number:04d}.jpg" for number in range(1, 7)}
    os.remove(str(image[6]))
    os.remove(str(image[2]))
    Image.open(str(image[3])).convert("L").save(str(image[3]))
    deep = np.asarray(Image.open(str(image[4])).convert("L"), np.uint16) * 257
    Image.fromarray(deep).save(str(folder / "img" / "0004.png"))
    os.remove(str(image[4]))
    Image.open(str(image[5])).resize((320, 240)).save(str(image[5]))
    return folder


def test_tracking_an_odd_sequence(appearance_run, sequence, capfd):
    assert track.main([f"--sequence={sequence}", f"--output_path={appearance_run}", "--response_maps"]) == 0
    out = capfd.readouterr().out
    assert "Device: cpu" in out and "Warning: frame 2: is missing" in out and "frames/s" in out
    folder = appearance_run / "0" / "predict" / "Odd"
    boxes = otb.read_boxes(str(folder / "boxes.txt"))
    truth = otb.read_boxes(str(sequence / "groundtruth_rect.txt"))
    assert boxes.shape == (5, 4) and np.array_equal(boxes[0], truth[0]) and np.array_equal(boxes[1], truth[0])
    assert np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all()
    result = json.loads((folder / "track.json").read_text())
    assert result["frames"] == 5 and result["ms_median"] <= result["ms_p90"] <= result["ms_p99"]
    assert os.path.getsize(str(folder / "annotated.mp4")) > 500

    video = frames.open_sequence(str(folder / "annotated.mp4"))
    assert len([frame for frame in frames.frames_of(video, pytest.fail) if frame.pixels is not None]) == 4


def test_tracking_both_branches(appearance_run, semantic_run, tiny_videos, capfd, tmp_path):
    arguments = [f"--sequence={tiny_videos / 'OTB' / 'Drawn2'}", f"--checkpoint={appearance_run / '0'}",
                 f"--semantic_checkpoint={semantic_run / '0'}", "--annotate=gif", "--json"]
    assert predict.main([*arguments, "--c_appearance=0.001"]) == 0
    result = printed(capfd)
    assert result["branch"] == "both" and sorted(result["checkpoints"]) == ["appearance", "semantic"]
    assert Image.open(result["annotated"]).n_frames == 6
    both = otb.read_boxes(result["boxes"])
    assert predict.main([*arguments, "--c_appearance=1", "--annotate=none"]) == 0
    appearance_alone = otb.read_boxes(printed(capfd)["boxes"])
    assert predict.main([arguments[0], arguments[1], "--annotate=none", "--json"]) == 0
    assert np.allclose(otb.read_boxes(printed(capfd)["boxes"]), appearance_alone, atol=1e-3)
    assert not np.array_equal(both, appearance_alone)


@pytest.mark.skipif(sys.version_info < (3, 8), reason="TensorFlow 1.15 takes minutes for it on a CPU")
def test_tracking_in_bfloat16(appearance_run, semantic_run, tiny_videos, capfd):
    """Near the boxes of float32; or one line where TensorFlow has no such convolution."""
    arguments = [f"--sequence={tiny_videos / 'OTB' / 'Drawn2'}", f"--checkpoint={appearance_run / '0'}",
                 f"--semantic_checkpoint={semantic_run / '0'}", "--annotate=none", "--json"]
    assert predict.main(arguments) == 0
    exact = otb.read_boxes(printed(capfd)["boxes"])
    if not _convolves_in_bfloat16():
        assert predict.main([*arguments, "--compute_dtype=bfloat16"]) == 1
        error = capfd.readouterr().err
        assert "cannot convolve in it here" in error and error.count("\n") == 1
        return
    assert predict.main([*arguments, "--compute_dtype=bfloat16"]) == 0
    np.testing.assert_allclose(otb.read_boxes(printed(capfd)["boxes"]), exact, atol=4.0)


def _convolves_in_bfloat16():
    with tf.Graph().as_default(), tf.Session() as session:
        ones = tf.ones([1, 3, 3, 1], tf.bfloat16)
        try:
            kernel = tf.ones([3, 3, 1, 1], tf.bfloat16)
            session.run(tf.cast(tf.nn.conv2d(ones, kernel, [1, 1, 1, 1], "SAME"), tf.float32))
        except tf.errors.OpError:
            return False
    return True


def test_bfloat16_rounds_the_convolutions_alone():
    """Features differ by a few roundings to 8 bits; variables and what comes out are float32."""
    if not _convolves_in_bfloat16():
        pytest.skip("this TensorFlow has no bfloat16 convolution on this CPU")
    images = np.random.RandomState(0).uniform(0, 255, (1, 255, 255, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        found = []
        for dtype in (tf.float32, tf.bfloat16):
            with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
                found.append(sa_siam.appearance(tf.constant(images), sa_siam.Normaliser(False), False, dtype)
                             + sa_siam.semantic(tf.constant(images), False, dtype))
        assert {variable.dtype.base_dtype for variable in tf.global_variables()} == {tf.float32}
        session.run(tf.global_variables_initializer())
        for exact, rounded in zip(*session.run(found)):
            assert rounded.dtype == np.float32
            assert 1e-5 < np.linalg.norm(rounded - exact) / np.linalg.norm(exact) < 0.05


def test_a_box_by_flag_a_single_frame_and_a_folder_of_frames(appearance_run, tiny_videos, tmp_path, capfd):
    source = tiny_videos / "OTB" / "Drawn1" / "img" / "0001.jpg"
    shutil.copy(str(source), str(tmp_path / "only.jpg"))
    arguments = [f"--sequence={tmp_path}", f"--output_path={appearance_run}", "--annotate=frames", "--json"]
    assert track.main([*arguments, "--box=20,30,24,18"]) == 0
    result = printed(capfd)
    assert (result["frames"], result["fps"]) == (1, None)
    assert os.listdir(result["annotated"]) == ["0001.jpg"]
    assert track.main(arguments) == 2
    assert "--box=x,y,width,height is needed" in capfd.readouterr().err
    flags = [*arguments[1:], "--max_frames=1"]
    results = []
    for path in (source.parent.parent, source.parent):
        assert track.main([f"--sequence={path}", *flags]) == 0
        results.append(printed(capfd))
    of_sequence, of_its_frames = (otb.read_boxes(result["boxes"]).tolist() for result in results)
    assert of_sequence == of_its_frames, "img/ has the true boxes of the folder that it is in"


def test_tracking_a_video_that_was_cut_off(appearance_run, tmp_path, capfd):
    path = write_video(tmp_path / "v.avi", 8)
    os.truncate(str(path), os.path.getsize(str(path)) * 3 // 4)
    (tmp_path / "boxes.txt").write_text("20,15,20,15\n" * 8)
    assert track.main([f"--sequence={path}", f"--ground_truth={tmp_path / 'boxes.txt'}", "--annotate=none", "--json",
                       f"--output_path={appearance_run}"]) == 0
    result = printed(capfd)
    count = result["frames"]
    assert 1 < count < 8 and len(otb.read_boxes(result["boxes"])) == count and result["fps"] > 0
    assert f"Notice: v has 8 boxes for {count} frames" in result["problems"]
    assert f"Warning: {path}: announces 8 frames, {count} can be read; is it cut off?" in result["problems"]


def test_evaluation_beside_baselines(appearance_run, tiny_videos, capfd):
    arguments = [f"--data_path={tiny_videos / 'OTB'}", f"--output_path={appearance_run}", "--json"]
    assert evaluate.main(arguments) == 0
    result = printed(capfd)
    assert result["sequences"] == ["Drawn1", "Drawn2"] and list(result["trackers"])[:2] == ["SA-Siam", "still box"]
    for scores in result["trackers"].values():
        assert 0 <= scores["overall"]["auc"] <= 1 and len(scores["overall"]["success"]) == 21
        assert scores["overall"]["auc"] == pytest.approx(np.mean([one["auc"] for one in scores["targets"].values()]))
    folder = appearance_run / "0" / "evaluate"
    assert {"evaluation.json", "success.png", "precision.png", "trackers"} <= set(os.listdir(str(folder)))
    kept = {path: path.stat().st_mtime_ns for path in (folder / "trackers").rglob("*.json")}
    assert len(kept) == 2 * len(result["trackers"])
    next(iter(kept)).unlink()
    assert evaluate.main(arguments) == 0
    capfd.readouterr()
    again = {path: path.stat().st_mtime_ns for path in (folder / "trackers").rglob("*.json")}
    assert set(again) == set(kept) and sum(again[path] != kept[path] for path in kept) == 1


@needs_onnx
@pytest.mark.slow
def test_the_onnx_models_compute_what_the_frozen_graphs_do(semantic_run, monkeypatch, capfd):
    monkeypatch.setattr(graph_export, "CHECKED_SAMPLES", 2)
    assert export.main([f"--output_path={semantic_run}", "--onnx", "--json"]) == 0
    result = printed(capfd)
    template, search = result["template"], result["search"]
    images = np.random.RandomState(0).uniform(0, 255, (1, 255, 255, 3)).astype(np.float32)
    maps = onnx_model.run(template["onnx"], dict(images=images))
    wanted = run_frozen(template["frozen_graph"], template["outputs"], dict(images=images))
    for name, values in zip(template["outputs"], wanted):
        np.testing.assert_allclose(maps[name], values, atol=1e-5 * np.abs(values).max())
    feeds = dict(maps, images=images)
    found = onnx_model.run(search["onnx"], feeds)
    for name, tolerance, values in zip(("response", "upsampled"), (1e-4, 3e-3), run_frozen(
            search["frozen_graph"], ["response", "upsampled"], feeds)):
        np.testing.assert_allclose(found[name], values, atol=tolerance * np.abs(values).max())


def test_frames_that_are_stored_on_their_side(appearance_run, tiny_videos, tmp_path, capfd):
    """Boxes are those of what a viewer shows, in predict and in evaluate; PNG loses nothing when it is turned."""
    results = []
    for name in ("upright", "stored"):
        sequence = tmp_path / name / "OTB" / "Drawn1"
        shutil.copytree(str(tiny_videos / "OTB" / "Drawn1"), str(sequence))
        for path in list((sequence / "img").iterdir()):
            image, exif = Image.open(str(path)), Image.Exif()
            exif[0x0112] = 6 if name == "stored" else 1
            image = image.transpose(Image.ROTATE_90) if name == "stored" else image
            image.save(str(path.with_suffix(".png")), exif=exif)
            path.unlink()
        weights = f"--checkpoint={appearance_run / '0'}"
        assert predict.main([f"--sequence={sequence}", weights, "--annotate=none", "--json"]) == 0
        boxes = otb.read_boxes(printed(capfd)["boxes"])
        assert evaluate.main([f"--data_path={tmp_path / name}", weights, "--baselines=false", "--json"]) == 0
        results.append((boxes, printed(capfd)["trackers"]["SA-Siam"]["overall"]["auc"]))
    (boxes, auc), (stored_boxes, stored_auc) = results
    assert len(boxes) == 6 and np.array_equal(stored_boxes, boxes) and stored_auc == auc


def test_exports_run_without_the_repository(appearance_run, semantic_run, monkeypatch, capfd):
    """Of the semantic branch; then of both, whose response is the weighted sum with a bias of each."""
    seen = {}
    compare_frozen = graph_export._run_frozen
    monkeypatch.setattr(graph_export, "CHECKED_SAMPLES", 2)
    monkeypatch.setattr(graph_export, "_run_frozen", lambda path, samples, outputs: (
        seen.update(samples), compare_frozen(path, samples, outputs))[1])
    assert export.main([f"--output_path={semantic_run}", "--json"]) == 0
    alone = printed(capfd)
    assert 254 < seen["images"].max() < 255 and 0.99 < seen["template_0"].max() < 1
    assert alone["template"]["outputs"] == ["template_0", "template_1"]
    assert sorted(alone["search"]["inputs"]) == ["images", "template_0", "template_1"]
    images = np.random.RandomState(0).uniform(0, 255, (1, 255, 255, 3)).astype(np.float32)
    template = run_frozen(alone["template"]["frozen_graph"], alone["template"]["outputs"], dict(images=images))
    feeds = dict(zip(alone["template"]["outputs"], template), images=images)
    response, upsampled = run_frozen(alone["search"]["frozen_graph"], ["response", "upsampled"], feeds)
    assert response.shape == (1, 17, 17) and upsampled.shape == (1, 272, 272)

    assert export.main([f"--checkpoint={appearance_run / '0'}", f"--semantic_checkpoint={semantic_run / '0'}",
                        "--c_appearance=0.25", "--json"]) == 0
    both = printed(capfd)
    assert both["template"]["outputs"] == ["template_0", "template_1", "template_2"]
    maps = run_frozen(both["template"]["frozen_graph"], both["template"]["outputs"], dict(images=images))
    assert [found.shape for found in maps] == [(1, 6, 6, CHANNELS), (1, 8, 8, 128), (1, 6, 6, 128)]
    np.testing.assert_allclose(maps[1], template[0], rtol=1e-4, atol=1e-4)
    bias, other_bias = (float(last_variables(run / "0")["detection/biases"][0])
                        for run in (appearance_run, semantic_run))
    assert bias != other_bias
    feeds = {name: np.zeros_like(found) for name, found in zip(both["template"]["outputs"], maps)}
    feeds["images"] = images
    (constant,) = run_frozen(both["search"]["frozen_graph"], ["response"], feeds)
    np.testing.assert_allclose(constant, 0.25 * bias + 0.75 * other_bias, rtol=1e-5)
    feeds.update(template_1=template[0], template_2=template[1])
    (found,) = run_frozen(both["search"]["frozen_graph"], ["response"], feeds)
    np.testing.assert_allclose(found, 0.25 * bias + 0.75 * response, rtol=1e-4, atol=1e-4 * np.abs(response).max())


@pytest.mark.parametrize("program, arguments, status, message", [
    (track, [], 2, "--sequence is needed"),
    (track, ["--sequence=/no/such"], 1, "--sequence=/no/such: not found"),
    (track, ["--sequence={otb}/Drawn1", "--box=1,2,3"], 2, "--box=1,2,3: expected x,y,width,height"),
    (track, ["--sequence={otb}/Drawn1", "--box=1,2,0,9"], 1, "has no extent"),
    (track, ["--sequence={otb}/Drawn1", "--box=500,2,9,9"], 1, "lies outside of the frame of 160 x 120 pixels"),
    (track, ["--sequence={otb}"], 1, "sequences; give one or more of them, such as --sequence={otb}/Drawn1"),
    (track, ["--sequence={otb}/Drawn1/groundtruth_rect.txt"], 1, "expected a folder of frames, or a video"),
    (track, ["--sequence={otb}/Drawn1", "--c_appearance=0.5"], 2, "--c_appearance weighs two branches"),
    (track, ["--sequence={otb}/Drawn1", "--annotate=none", "--response_maps"], 2, "is drawn on annotated frames"),
    (evaluate, [], 1, 'para "data_path" must be config'),
    (evaluate, ["--data_path={otb}/Drawn1/img"], 1, "no sequence found, expected <name>/"),
    (export, ["--checkpoint=/no/such"], 1, "/no/such: not found (no /no/such.index, no run directory)"),
    (export, ["--semantic_checkpoint={run}/0"], 2, "expected appearance and semantic"),
])
def test_mistakes_are_one_line(appearance_run, tiny_videos, capfd, program, arguments, status, message):
    arguments = [argument.format(otb=tiny_videos / "OTB", run=appearance_run) for argument in arguments]
    assert program.main([*arguments, f"--output_path={appearance_run}"]) == status
    error = capfd.readouterr().err
    assert message.replace("{otb}", str(tiny_videos / "OTB")) in error and error.count("\n") == 1


def test_bad_sequences_are_named(tmp_path, appearance_run, tiny_videos, capfd):
    shutil.copytree(str(tiny_videos / "OTB" / "Drawn1"), str(tmp_path / "S"))
    truth = tmp_path / "S" / "groundtruth_rect.txt"
    for text, message in ((b"1,2,3\n", "line 1 has 3 numbers"), (b"1,2,3,x\n", "line 1 is not a box"),
                          (b"", "holds no box"), (b"\xff\xd8\xff", "is not text; expected a box")):
        truth.write_bytes(text)
        assert evaluate.main([f"--data_path={tmp_path}", f"--output_path={appearance_run}"]) == 1
        assert message in capfd.readouterr().err
    truth.write_text("20,20,20,20\n")
    assert evaluate.main([f"--data_path={tmp_path}", f"--output_path={appearance_run}", "--baselines=false"]) == 0
    assert "Notice: S has 1 boxes for 6 frames; those of frames 1 to 1 are used" in capfd.readouterr().out
    os.truncate(str(tmp_path / "S" / "img" / "0001.jpg"), 100)
    assert track.main([f"--sequence={tmp_path / 'S'}", "--box=20,20,20,20", f"--output_path={appearance_run}"]) == 1
    assert "S: the first frame cannot be read" in capfd.readouterr().err
    (tmp_path / "no.mp4").write_bytes(b"no video")
    flags = ["--box=20,20,20,20", f"--output_path={appearance_run}"]
    assert track.main([f"--sequence={tmp_path / 'no.mp4'}", *flags]) == 1
    assert "no.mp4: is not a readable video" in capfd.readouterr().err


def test_the_semantic_branch_asks_for_its_weights(tmp_path, tiny_videos, capfd):
    assert train(tiny_videos, tmp_path / "out", "--branch=semantic") == 1
    error = capfd.readouterr().err
    assert "needs the weights of CaffeNet" in error and "--caffenet=random" in error and error.count("\n") == 1
    wanted = TrainConfig(pair_order="symmetric", exif_orientation=True, batch_size=1), TrackConfig(scale_step=1.02)
    (tmp_path / "config").mkdir()
    configuration.save(str(tmp_path / "config"), ModelConfig(branch="semantic"), TrainConfig(), wanted[1])
    assert train(tiny_videos, tmp_path / "out", f"--config={tmp_path / 'config'}", "--caffenet=random", "--performance",
                 "--steps=1", "--batch_size=1", "--recipe=corrected") == 0
    out = capfd.readouterr().out
    assert "It is UNTRAINED" in out and "pair_order=symmetric" in out
    assert tuple(configuration.load(type(one), str(tmp_path / "out" / "0")) for one in wanted) == wanted
