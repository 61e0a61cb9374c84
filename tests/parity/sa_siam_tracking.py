"""Tracking of SA-Siam against recorded numbers: search images, embeddings, responses, boxes."""
from __future__ import annotations

import csv
import hashlib
import os
from typing import NamedTuple

import numpy as np

from common.data.images import read_rgb
from common.graph.compat import tf
from sa_siam_tf1.configuration import ModelConfig, TrackConfig
from sa_siam_tf1.inference.inference_wrapper import InferenceWrapper, search_factors
from sa_siam_tf1.inference.tracker import Target, Tracker
from tests import GOLDEN
from tests.parity.comparison import Comparison, FixtureError, Taker
from tests.parity.sa_siam_rule import EMBEDDING, RULE, assembled, set_by_rule, take_array

BOXES, SEARCH_LEVELS = 1e-3, 2e-3


class Tracked(NamedTuple):
    """What is compared: a branch's graphs over some frames, with a fixture."""

    take: Taker
    comparison: Comparison
    session: tf.Session
    wrapper: InferenceWrapper
    frames: list


def compare_inference(take: Taker, comparison: Comparison, folder: str) -> None:
    """Compare every branch that a fixture has, over six frames.

    Args:
        take: the fixture.
        comparison: takes the errors.
        folder: of the fixture; frames/seq6 is sought there, then beside the golden fixtures. The fixture knows its
            first frame.
    """
    beside = os.path.join(folder, "frames", "seq6")
    frames_path = beside if os.path.isdir(beside) else os.path.join(GOLDEN, "sa_siam", "frames", "seq6")
    frames = [read_rgb(os.path.join(frames_path, f"{number:04d}.jpg")) for number in range(1, 7)]
    for branch in ("both", "appearance", "semantic"):
        if f"{branch}/track/boxes" not in take:
            continue
        for key, track in (("track", TrackConfig()), ("track_nopenalty", TrackConfig(scale_penalty=1.0))):
            with tf.Graph().as_default(), tf.Session() as session:
                wrapper = InferenceWrapper(ModelConfig(branch=branch), track)
                session.run(tf.global_variables_initializer())
                set_by_rule(session)
                tracked = Tracked(take, comparison, session, wrapper, frames)
                if key == "track":
                    _compare_parts(tracked, branch)
                _compare_track(tracked, f"{branch}/{key}", take(f"{branch}/track/gt")[0])


def _compare_parts(tracked: Tracked, branch: str) -> None:
    take, comparison = tracked.take, tracked.comparison
    found = {variable.op.name: variable.shape.as_list() for variable in tf.global_variables()}
    recorded = dict(zip((str(name) for name in take(f"{branch}/var_names")), take(f"{branch}/var_shapes")))
    recorded = {name: str(shape) for name, shape in recorded.items() if not name.startswith("target_template/")}
    if {name: str(shape) for name, shape in found.items()} != recorded:
        raise FixtureError(f"{branch}/var_names: other variables than the model's")
    if f"{branch}/biases" in take:
        for name, value in take(f"{branch}/biases"):
            comparison.absolute("variables", str(name), RULE.var_value(str(name), [1])[0], float(value), 1e-8)
    _compare_frame0(take, comparison, branch, tracked.frames[0])
    template = _compare_search(tracked, branch)
    _compare_edge(tracked, f"{branch}/edge", template)


def _compare_frame0(take: Taker, comparison: Comparison, branch: str, frame: np.ndarray) -> None:
    sha = hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()
    comparison.add("decoding", f"{branch}/frame0_sha_uint8", float(sha != str(take(f"{branch}/frame0_sha_uint8"))), 0.0)
    take_array(take, comparison, "decoded", f"{branch}/frame0_decoded", frame.astype(np.float32), 1e-6)


def _target(feed: np.ndarray) -> Target:
    return Target(*(float(value) for value in feed))


def _compare_search(tracked: Tracked, branch: str) -> list:
    take, comparison, session, wrapper, frames = tracked
    target = _target(take(f"{branch}/feed_y_x_h_w"))
    centre = (target.y, target.x)
    for key in ("scale_xs_init", "scale_xs"):
        _compare_scales(comparison, f"{branch}/{key}", target, take(f"{branch}/{key}"))
    graph = wrapper.search_graph
    template = wrapper.template(session, frames[0], centre, target.context)
    take_array(take, comparison, "embedding", f"{branch}/template",
                np.repeat(assembled(template), 3, axis=0), EMBEDDING)
    feeds = wrapper.search_feeds(frames[0], centre, target.context, template)
    take_array(take, comparison, "search_images", f"{branch}/search_images_frame0",
                session.run(graph.windows.images, feeds), SEARCH_LEVELS, absolute=True)
    feeds = wrapper.search_feeds(frames[1], centre, target.context, template)
    found = session.run(dict(images=graph.windows.images, features=graph.features, response=graph.response,
                             upsampled=graph.upsampled), feeds)
    take_array(take, comparison, "search_images", f"{branch}/search_images_frame1", found["images"], SEARCH_LEVELS,
                absolute=True)
    take_array(take, comparison, "embedding", f"{branch}/embeds", assembled(found["features"]), EMBEDDING)
    take_array(take, comparison, "response", f"{branch}/response", found["response"], EMBEDDING)
    upsampled = found["upsampled"]
    take_array(take, comparison, "response", f"{branch}/response_up", upsampled, EMBEDDING)
    comparison.relative("response", f"{branch}/response_up/center", upsampled[1],
                        take(f"{branch}/response_up/center_scale_full"), EMBEDDING)
    comparison.relative("response", f"{branch}/response_max", upsampled.max(axis=(1, 2)),
                        take(f"{branch}/response_max_per_scale"), EMBEDDING)
    places = [np.unravel_index(one.argmax(), one.shape) for one in upsampled]
    comparison.absolute("argmax", f"{branch}/argmax", places, take(f"{branch}/response_argmax_per_scale"), 1e-9)
    return template


def _compare_edge(tracked: Tracked, key: str, template: list) -> None:
    take, comparison, session, wrapper, frames = tracked
    target = _target(take(f"{key}/feed_y_x_h_w"))
    _compare_scales(comparison, f"{key}/scale_xs", target, take(f"{key}/scale_xs"))
    graph = wrapper.search_graph
    feeds = wrapper.search_feeds(frames[0], (target.y, target.x), target.context, template)
    images, response = session.run([graph.windows.images, graph.response], feeds)
    take_array(take, comparison, "search_images", f"{key}/search_images", images, SEARCH_LEVELS, absolute=True)
    comparison.absolute("search_images", f"{key}/corner_pixel", images[:, 0, 0], take(f"{key}/corner_pixel"),
                        SEARCH_LEVELS)
    comparison.absolute("search_images", f"{key}/avg_chan", feeds[graph.windows.mean_colour],
                        take(f"{key}/avg_chan"), SEARCH_LEVELS)
    take_array(take, comparison, "response", f"{key}/response", response, EMBEDDING)


def _compare_scales(comparison: Comparison, key: str, target: Target, wanted: np.ndarray) -> None:
    comparison.relative("scales", key, 127.0 / target.context / search_factors(TrackConfig()), wanted, 1e-6)


def _compare_track(tracked: Tracked, key: str, box: np.ndarray) -> None:
    take, comparison, session, wrapper, frames = tracked
    tracker = Tracker(session, wrapper, frames[0], box)
    found_boxes, maxima, scales, best = [list(map(float, box))], [], [], []
    feeds = []
    for frame in frames[1:]:
        target = tracker.target
        feeds.append([target.y, target.x, target.height, target.width])
        scales.append(127.0 / target.context / search_factors(wrapper.track))
        found = tracker.track(frame)
        found_boxes.append(found.target.box)
        maxima.append(found.response_max)
        best.append(found.best_scale)
    comparison.add("boxes", f"{key}/boxes", float(np.abs(np.array(found_boxes) - take(f"{key}/boxes")).max()),
                   BOXES)
    comparison.relative("response", f"{key}/response_max", maxima, take(f"{key}/response_max"), EMBEDDING)
    comparison.relative("scales", f"{key}/scale_xs", scales, take(f"{key}/scale_xs"), 1e-6)
    comparison.absolute("argmax", f"{key}/best_scale", best, take(f"{key}/best_scale"), 1e-9)
    if f"{key}/feeds" in take:
        comparison.add("boxes", f"{key}/feeds", float(np.abs(np.array(feeds) - take(f"{key}/feeds")).max()), BOXES)


def compare_frames(folder: str, comparison: Comparison) -> None:
    """Track a folder of frames with both branches by the rule, and compare the boxes."""
    paths = sorted(name for name in os.listdir(folder) if name.endswith(".jpg"))
    wanted, truth = (_read_boxes(os.path.join(folder, name)) for name in ("reference_boxes.csv", "groundtruth.csv"))
    if len(paths) != len(wanted):
        raise FixtureError(f"reference_boxes.csv: {len(wanted)} boxes for {len(paths)} frames")
    frames = [read_rgb(os.path.join(folder, name)) for name in paths]
    with tf.Graph().as_default(), tf.Session() as session:
        wrapper = InferenceWrapper(ModelConfig(branch="both"), TrackConfig())
        session.run(tf.global_variables_initializer())
        set_by_rule(session)
        tracker = Tracker(session, wrapper, frames[0], truth[0])
        boxes = [list(truth[0])] + [tracker.track(frame).target.box for frame in frames[1:]]
    comparison.add("boxes", "reference_boxes.csv", float(np.abs(np.array(boxes) - wanted).max()), BOXES)


def _read_boxes(path: str) -> np.ndarray:
    with open(path, encoding="utf-8") as file:
        rows = [[float(value) for value in row] for row in csv.reader(file) if row and not row[0].startswith("#")]
    if not rows or any(len(row) != 4 for row in rows):
        raise FixtureError(f"{os.path.basename(path)}: expected rows of x,y,w,h")
    return np.array(rows)
