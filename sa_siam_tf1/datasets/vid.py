"""Tracks of videos, and the pair of frames that training draws from one. No TensorFlow."""
from __future__ import annotations

import numpy as np


def sample_pair(num_frames: int, max_frame_dist: int, random: np.random.RandomState) -> tuple[int, int]:
    """Draw two frames of a track, the earlier one first.

    The distance is uniform in 1 to min(num_frames, max_frame_dist); one that is too long is cut to what fits, so the
    longest of a short track comes up twice as often. A track of one or two frames is taken whole.

    Args:
        num_frames: frames of the track.
        max_frame_dist: largest distance.
        random: two numbers are drawn from it.
    """
    if num_frames <= 2:
        return 0, num_frames - 1
    distance = int(random.choice(range(1, min(num_frames, max_frame_dist) + 1), 1)[0])
    distance = min(distance, num_frames - 1)
    start = int(random.choice(num_frames - distance, 1)[0])
    return start, start + distance
