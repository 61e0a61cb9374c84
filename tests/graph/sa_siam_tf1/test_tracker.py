"""The tracker's arithmetic at its edges, worked by hand on responses that are made up."""
from __future__ import annotations

import functools

import numpy as np
import pytest
from PIL import Image

from common.errors import ZooError
from common.graph.compat import tf
from sa_siam_tf1.configuration import TrackConfig
from sa_siam_tf1.inference import frames, inference_wrapper, sequences, tracker
from sa_siam_tf1.inference.tracker import Target, Tracker

SIDE = 272  # 17 cells, upsampled by 16
STEP = 1.0375
# a square of 63.5 pixels has a context of 127: a cell is 8 pixels of the frame
SQUARE = Target(50.0, 60.0, 63.5, 63.5)


def peaks(*values, place=(135, 135)):
    """Responses of zeros with one peak, of a value for each scale."""
    responses = np.zeros((3, SIDE, SIDE), np.float32)
    responses[:, place[0], place[1]] = values
    return responses


def peak_of(responses, track):
    """The values of the graph's peak."""
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(inference_wrapper.find_peak(tf.constant(responses), track))


def locate(responses, target, first, track):
    return tracker.locate(peak_of(responses, track), target, first, track)


@pytest.mark.parametrize("place, move", [
    ((151, 119), (15.5 / 16 * 8, -16.5 / 16 * 8)),
    ((0, 271), (-64, 64)),  # 8.47 cells, of which 8 are taken
    ((7, 264), (-64, 64)),  # 8.03
    ((8, 263), (-63.75, 63.75)),  # 7.97
])
def test_a_step_is_of_eight_cells_at_most(place, move):
    found = locate(peaks(1, 1, 1, place=place), SQUARE, SQUARE, TrackConfig())
    assert (found.target.y - 50, found.target.x - 60) == pytest.approx(move)
    assert (found.best_scale, found.target.height, found.target.width) == (1, 63.5, 63.5)
    assert found.response_side == pytest.approx(17 * 8)


@pytest.mark.parametrize("values, best", [((1, 1, 1.02), 1), ((1, 1, 1.03), 2), ((1.03, 1, 1.02), 0), ((3, 1, 3), 0)])
def test_other_scales_are_penalised(values, best):
    found = locate(peaks(*values, place=(151, 135)), SQUARE, SQUARE, TrackConfig())
    assert found.best_scale == best
    factor = STEP ** (best - 1)
    assert found.target.height == pytest.approx(63.5 * (0.41 + 0.59 * factor))
    assert found.target.y - 50 == pytest.approx(15.5 / 16 * 8 * factor)
    assert found.response_side == pytest.approx(136 * factor)


@pytest.mark.parametrize("height, values, wanted", [
    (49.9, (0, 0, 1), 50.0),  # 49.9 * 1.022
    (2.01, (1, 0, 0), 2.0),  # 2.01 * 0.979
    (2.01, (0, 1, 0), 2.01),
])
def test_the_size_stays_within_a_fifth_and_five_times_the_first(height, values, wanted):
    first = Target(0.0, 0.0, 10.0, 20.0)
    found = locate(peaks(*values), Target(0.0, 0.0, height, 2 * height), first, TrackConfig())
    assert (found.target.height, found.target.width) == pytest.approx((wanted, 2 * wanted))


@pytest.mark.parametrize("value, best", [(0.0, 0), (1.0, 1), (-1.0, 0)])
def test_a_constant_response_leaves_the_target_to_the_window(value, best):
    """The window is highest half a point, a 32nd of a cell, from the middle; the first of equal scales is taken."""
    found = locate(np.full((3, SIDE, SIDE), value, np.float32), SQUARE, SQUARE, TrackConfig())
    assert found.best_scale == best
    for move in (found.target.y - 50, found.target.x - 60):
        assert abs(move) == pytest.approx(0.25 * STEP ** (best - 1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_response_that_is_not_finite_is_refused(value):
    with pytest.raises(ZooError, match="the response is NaN or infinite; .*weights"):
        locate(peaks(0, value, 0), SQUARE, SQUARE, TrackConfig())


def test_a_target_may_leave_the_frame():
    """Three steps of 64 pixels; its window, 255 wide, is then wholly outside and has the frame's mean colour."""
    target = SQUARE
    for _ in range(3):
        target = locate(peaks(1, 1, 1, place=(0, 271)), target, SQUARE, TrackConfig()).target
    assert (target.y, target.x) == pytest.approx((50 - 192, 60 + 192))
    boxes = inference_wrapper.window_boxes((101, 121), (target.y, target.x), [255.0])
    np.testing.assert_allclose(boxes, [[(-142 - 127) / 100, (252 - 127) / 120, (-142 + 127) / 100, (252 + 127) / 120]])
    pixels = np.random.RandomState(0).randint(0, 256, (101, 121, 3)).astype(np.uint8)
    with tf.Graph().as_default(), tf.Session() as session:
        windows = inference_wrapper._windows(1, 255)
        feeds = {windows.frame: pixels, windows.mean_colour: [1.0, 2.0, 3.0]}
        outside = session.run(windows.images, {**feeds, windows.boxes: boxes})
        inside = session.run(windows.images, {**feeds, windows.boxes: [[0.0, 0.0, 1.0, 1.0]]})
    assert (outside == [1.0, 2.0, 3.0]).all()
    np.testing.assert_allclose(inside[0, [0, 0, -1, -1], [0, -1, 0, -1]], pixels[[0, 0, -1, -1], [0, -1, 0, -1]])


@pytest.mark.parametrize("seed", range(4))
def test_the_peak_is_that_of_a_slow_computation(seed):
    """In float64, on smooth responses: positive, negative and mixed ones."""
    track, random = TrackConfig(), np.random.RandomState(seed)
    small = random.randn(3, 5, 5) + (seed - 1)
    responses = np.stack([np.asarray(Image.fromarray(one.astype(np.float32)).resize((SIDE, SIDE), 3)) for one in small])
    maxima = [one.max() for one in responses.astype(np.float64)]
    best = int(np.argmax([maxima[0] * track.scale_penalty, maxima[1], maxima[2] * track.scale_penalty]))
    score = responses[best].astype(np.float64) - responses[best].min()
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    score = (1 - track.window_influence) * score / score.sum() + track.window_influence * window / window.sum()
    found = peak_of(responses, track)
    assert (found.best_scale, found.index) == (best, score.argmax())
    assert found.response_max.tolist() == maxima and np.array_equal(found.response, responses[best])


class MadeUp:
    """Stands for `InferenceWrapper`: gives responses one after the other."""

    def __init__(self, *responses):
        self.track, self._responses = TrackConfig(), iter(responses)

    def template(self, session, frame, centre, context):
        return []

    def search(self, session, frame, centre, context, template):
        return peak_of(next(self._responses), self.track)


def tracked(folder, *responses):
    folder.mkdir()
    for number in range(3, 4 + len(responses)):
        Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(str(folder / f"{number:04d}.png"))
    return sequences.track_sequence(frames.open_sequence(str(folder)), (1, 1, 63.5, 63.5),
                                    functools.partial(Tracker, None, MadeUp(*responses)))


def test_frames_with_a_negative_response_are_counted(tmp_path):
    found = tracked(tmp_path / "S", peaks(1, 1, 1), peaks(1, 1, 1) - 2, peaks(1, 1, 1), peaks(1, 1, 1) - 3)
    assert found.boxes.shape == (5, 4) and len(found.frame_seconds) == 4
    assert found.problems == ["Warning: 2 of 5 frames, the first of them 5: the highest response is negative; "
                              "the target may be lost"]


def test_the_frame_of_a_response_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(ZooError, match="^S: frame 5: the response is NaN or infinite"):
        tracked(tmp_path / "S", peaks(1, 1, 1), peaks(1, np.nan, 1))
