"""The tracker: the target's position and size in each frame, from its box in the first (SiamFC, section 2; SA-Siam,
section 3.4).

Boxes are x, y, width, height in pixels; x and y of the upper left pixel are counted from 0.
"""
from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from common.errors import ZooError
from common.graph.compat import tf
from sa_siam_tf1.configuration import EXEMPLAR_SIDE, STRIDE, TrackConfig
from sa_siam_tf1.datasets.curation import context_side
from sa_siam_tf1.inference.inference_wrapper import InferenceWrapper, Peak, search_factors
from sa_siam_tf1.inference.sequences import Step

_NEGATIVE = "the highest response is negative; the target may be lost"


class Target(NamedTuple):
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
        return context_side(self.width, self.height)


class Location(NamedTuple):
    """The target in a frame."""

    target: Target
    before: Target  # in the frame before, which is the middle of the response
    best_scale: int  # index of the scale with the highest response
    response_max: np.ndarray  # highest response at each scale, float32 [scales]
    response: np.ndarray  # of the best scale, float32 [side, side], before normalisation
    response_side: float  # side of the square that the response covers, pixels of the frame


class Tracker:
    """Tracks one target through frames, uint8 [height, width, 3], RGB.

    With its first two arguments bound it is a `sequences.MakeTracker`.
    """

    def __init__(self, session: tf.Session, wrapper: InferenceWrapper, frame: np.ndarray, box: Sequence[float]):
        """Compute the template from the first frame and the target's box in it."""
        self._session, self._wrapper = session, wrapper
        self._first = self.target = Target.of_box(box)
        self._template = wrapper.template(session, frame, (self.target.y, self.target.x), self.target.context)

    def track(self, frame: np.ndarray) -> Location:
        """Locate the target in the next frame."""
        target = self.target
        peak = self._wrapper.search(self._session, frame, (target.y, target.x), target.context, self._template)
        location = locate(peak, target, self._first, self._wrapper.track)
        self.target = location.target
        return location

    def __call__(self, frame: np.ndarray) -> Step:
        """Locate the target, as a step with its Location as details."""
        location = self.track(frame)
        warning = _NEGATIVE if location.response_max[location.best_scale] < 0 else ""
        return Step(location.target.box, location, warning)


def locate(peak: Peak, target: Target, first: Target, track: TrackConfig) -> Location:
    """Turn the values of a peak into the target's new position and size, given those in the frame before and the first.

    Raises:
        ZooError: a response is not finite.
    """
    if not np.isfinite(peak.total):
        raise ZooError("the response is NaN or infinite; the checkpoint's weights are, or they belong to another "
                       "configuration; use another --checkpoint")
    best, side = int(peak.best_scale), len(peak.response)
    factor = search_factors(track)[best]
    cells = (np.array(divmod(int(peak.index), side), np.float64) - (side - 1) / 2.0) / track.upsample_factor
    reach = side // track.upsample_factor // 2
    pixels_a_cell = STRIDE * target.context * factor / EXEMPLAR_SIDE
    move = np.clip(cells, -reach, reach) * pixels_a_cell
    growth = (1.0 - track.scale_damp) + track.scale_damp * factor
    scale = float(np.clip(target.height / first.height * growth, track.scale_min, track.scale_max))
    moved = Target(target.y + float(move[0]), target.x + float(move[1]), first.height * scale, first.width * scale)
    return Location(moved, target, best, peak.response_max, peak.response,
                    side / track.upsample_factor * float(pixels_a_cell))
