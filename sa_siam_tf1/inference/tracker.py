"""The tracker: the target's position and size in each frame, from its box in the first (SiamFC, section 2; SA-Siam,
section 3.4).

Boxes are x, y, width, height in pixels; x and y of the upper left pixel are counted from 0.
"""
from __future__ import annotations

import dataclasses
import functools
from typing import Callable, Sequence

import numpy as np

from common.errors import ZooError
from common.graph.compat import tf
from sa_siam_tf1.configuration import EXEMPLAR_SIDE, STRIDE, TrackConfig
from sa_siam_tf1.datasets.curation import context_side
from sa_siam_tf1.inference.inference_wrapper import InferenceWrapper, search_factors
from sa_siam_tf1.inference.sequences import Step

_NEGATIVE = "the highest response is negative; the target may be lost"


@dataclasses.dataclass(frozen=True)
class Target:
    """Position and size of the target in pixels, counted from 0."""

    y: float  # of the centre
    x: float
    height: float
    width: float

    @classmethod
    def of_box(cls, box: Sequence[float]) -> Target:
        """Convert x, y, width, height."""
        x, y, width, height = (float(value) for value in box)
        return cls(y + (height - 1.0) / 2.0, x + (width - 1.0) / 2.0, height, width)

    @property
    def box(self) -> list[float]:
        """As x, y, width, height."""
        return [self.x - (self.width - 1.0) / 2.0, self.y - (self.height - 1.0) / 2.0, self.width, self.height]

    @property
    def context(self) -> float:
        """Side of the target's context."""
        return context_side(self.width, self.height)


@dataclasses.dataclass(frozen=True)
class Location:
    """The target in a frame.

    Attributes:
        target: its position and size.
        best_scale: index of the scale with the highest response.
        response_max: highest response at each scale, float32 [scales].
        response: of the best scale, float32 [side, side], before normalisation.
        response_side: side of the square that the response covers, pixels of the frame.
    """

    target: Target
    best_scale: int
    response_max: np.ndarray
    response: np.ndarray
    response_side: float


class Tracker:
    """Tracks one target through frames, uint8 [height, width, 3], RGB."""

    def __init__(self, session: tf.Session, wrapper: InferenceWrapper, frame: np.ndarray, box: Sequence[float]):
        """Compute the template from the first frame.

        Args:
            session: holds the weights.
            wrapper: the graphs.
            frame: the first frame.
            box: the target's, x, y, width, height, counted from 0.
        """
        self._session, self._wrapper = session, wrapper
        self._first = self.target = Target.of_box(box)
        self._template = wrapper.template(session, frame, (self.target.y, self.target.x), self.target.context)

    def track(self, frame: np.ndarray) -> Location:
        """Locate the target in the next frame."""
        target = self.target
        responses = self._wrapper.search(self._session, frame, (target.y, target.x), target.context, self._template)
        location = locate(responses, target, self._first, self._wrapper.track)
        self.target = location.target
        return location


def tracker_maker(session: tf.Session, wrapper: InferenceWrapper) -> Callable:
    """Return a `sequences.MakeTracker`; the details of a step are Location and the Target of the frame before."""
    def make(frame: np.ndarray, box: Sequence[float]) -> Callable:
        tracker = Tracker(session, wrapper, frame, box)

        def step(pixels: np.ndarray) -> Step:
            before = tracker.target
            location = tracker.track(pixels)
            return Step(location.target.box, (location, before), _NEGATIVE if location.response.max() < 0 else "")

        return step

    return make


def locate(responses: np.ndarray, target: Target, first: Target, track: TrackConfig) -> Location:
    """Turn responses into the target's new position and size.

    Args:
        responses: float32 [scales, side, side], upsampled.
        target: in the frame before.
        first: in the first frame.
        track: the configuration.

    Raises:
        ZooError: a response is not finite.
    """
    if not np.isfinite(responses).all():
        raise ZooError("the response is NaN or infinite; the checkpoint's weights are, or they belong to another "
                       "configuration; take another --checkpoint")
    factors = search_factors(track)
    penalties = np.full(len(factors), track.scale_penalty)
    penalties[len(factors) // 2] = 1.0
    response_max = responses.max(axis=(1, 2))
    best = int(np.argmax(response_max * penalties))
    side = responses.shape[1]
    score = responses[best] - responses[best].min()
    total = score.sum()
    if total > 0:
        score = score / total
    score = (1.0 - track.window_influence) * score + track.window_influence * cosine_window(side)
    row_column = np.array(np.unravel_index(np.argmax(score), score.shape), np.float64)
    cells = (row_column - (side - 1) / 2.0) / track.upsample_factor
    reach = side // track.upsample_factor // 2
    pixels_a_cell = STRIDE * target.context * factors[best] / EXEMPLAR_SIDE
    move = np.clip(cells, -reach, reach) * pixels_a_cell
    growth = (1.0 - track.scale_damp) + track.scale_damp * factors[best]
    scale = float(np.clip(target.height / first.height * growth, track.scale_min, track.scale_max))
    moved = Target(target.y + float(move[0]), target.x + float(move[1]), first.height * scale, first.width * scale)
    return Location(moved, best, response_max, responses[best], side / track.upsample_factor * float(pixels_a_cell))


@functools.lru_cache(maxsize=4)
def cosine_window(side: int) -> np.ndarray:
    """Return the outer product of two Hann windows with sum 1, float32 [side, side]."""
    window = np.outer(np.hanning(side), np.hanning(side))
    return (window / window.sum()).astype(np.float32)
