"""What is to be tracked: sequences or a camera, and the target's box in the first frame."""
from __future__ import annotations

import os
from typing import NamedTuple, Sequence

import numpy as np

from common import console
from common.cli import inference, shared_flags
from common.cli.parser import FlagValues
from common.cli.program import StopRequest
from common.errors import FlagError, ZooError
from sa_siam_tf1.inference import frames, live, otb


class Target(NamedTuple):
    """A sequence, and where its target is."""

    sequence: frames.Sequence
    box: np.ndarray | None  # x, y, width, height in the first frame, counted from 1; None: to be drawn with the mouse
    truth: np.ndarray | None = None  # all true boxes
    notice: str = ""  # about them


def find(flags: FlagValues, root: str, stop: StopRequest) -> list[Target]:
    """Find the sequences that the flags name, or open the camera, whose frames `stop` ends.

    Raises:
        ZooError: a sequence or the camera cannot be read.
        FlagError: a box for several sequences.
    """
    values = flags.sequence
    if len(values) == 1 and values[0].isdecimal() and not os.path.exists(values[0]):
        number = int(values[0])
        camera = live.Camera(number, lambda: stop.requested)
        return [Target(frames.Sequence(f"camera{number}", [], 1, False, None, limit=flags.max_frames, camera=camera),
                       _given_box(flags.box))]
    paths = inference.find_paths("sequence", values, root)
    if len(paths) > 1 and (flags.box or flags.ground_truth):
        raise FlagError("--box and --ground_truth are of one sequence; with several, each needs a groundtruth_rect.txt")
    return [align_to_first_box(flags, _open(path)._replace(
        background=flags.background, limit=flags.max_frames), path, root) for path in paths]


def _open(path: str) -> frames.Sequence:
    try:
        return frames.open_sequence(path)
    except ZooError:
        inside = otb.find_sequences(path)
        if not inside:
            raise
        raise ZooError(f"{path}: is a folder of {len(inside)} sequences; give one or more of them, such as "
                       f"--sequence={inside[0].frames}") from None


def align_to_first_box(flags: FlagValues, sequence: frames.Sequence, path: str, root: str) -> Target:
    """Choose the first frame, and its box if it is known: the folder of the frames, or that above it, may hold it."""
    truth_path = (otb.truth_files(path) or otb.truth_files(frames.folder_of(path))).get(1)
    if flags.ground_truth:
        truth_path = shared_flags.find_path("ground_truth", flags.ground_truth, root)
    given = _given_box(flags.box)
    if not truth_path:
        return Target(sequence, given)
    sequence, start, truth, notice = otb.align(sequence, otb.read_boxes(truth_path))
    if given is None:
        return Target(sequence.part(start), truth[0], truth, notice)
    return Target(sequence, given, np.concatenate([np.full((start, 4), np.nan), truth]), notice)


def _given_box(value: str | None) -> np.ndarray | None:
    if not value:
        return None
    try:
        box = np.array([float(number) for number in value.split(",")])
    except ValueError:
        box = np.zeros(0)
    if box.shape != (4,):
        raise FlagError(f"--box={value}: expected x,y,width,height")
    return box


def open_window(targets: Sequence[Target]) -> live.Window | None:
    """Open a window if a box is to be drawn in it, or a camera to be watched.

    Raises:
        FlagError: a box is missing, and there is no window to draw it in.
    """
    without_box = next((target.sequence for target in targets if target.box is None), None)
    if without_box is None and not targets[0].sequence.camera:
        return None
    try:
        window = live.Window()
        if targets[0].sequence.camera:
            window.show(targets[0].sequence.camera.pixels, "loading the network")
        return window
    except live.NoWindow as error:
        if without_box is not None:
            reason = "" if without_box.camera else f"{without_box.name} has no groundtruth_rect.txt; to draw the box: "
            raise FlagError(f"--box=x,y,width,height is needed: {reason}{error}") from None
        console.notice(f"Notice: {error}; Ctrl-C or --max_frames ends the tracking")
        return None


def with_boxes(targets: Sequence[Target], window: live.Window | None) -> list[Target]:
    """Let the user draw the boxes that are missing, and close the window unless it is to show a camera.

    Raises:
        ZooError: none was drawn, or the first frame cannot be read.
    """
    if window is None:
        return list(targets)
    found = [target if target.box is not None else target._replace(box=_draw(target.sequence, window))
             for target in targets]
    if not targets[0].sequence.camera:
        window.close()
    return found


def _draw(sequence: frames.Sequence, window: live.Window) -> np.ndarray:
    if sequence.camera:
        return window.choose(sequence.camera.pixels, sequence.camera)
    first = next(frames.frames_of(sequence, lambda line: None))
    if first.pixels is None:
        raise ZooError(f"{sequence.name}: the first frame cannot be read: {first.problem}")
    return window.choose(first.pixels)
