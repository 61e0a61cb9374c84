"""Track a target through frames, a video or the images of a camera, from its box in the first frame.

    python3 sa_siam_tf1/inference/track.py --sequence=FOLDER|VIDEO,... [--box=x,y,width,height]
    python3 sa_siam_tf1/inference/track.py --source=0 [--checkpoint=FILE|RUN_DIR]

--sequence is a folder of frames, a sequence in OTB's layout (img/ and groundtruth_rect.txt), a video file, or the
number of a camera. The first box is that of --box, else of --ground_truth, else of the sequence's own ground truth,
else you draw it with the mouse, where OpenCV has windows. Pixels are counted from 1, as in OTB. A camera's frames are
shown in a window; q, Ctrl-C or --max_frames ends them. Writes boxes.txt, track.json and annotated frames to <run
directory>/predict/<sequence>/, or to <sequence>.2, .3, ... if that exists.
"""
from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from typing import Any, Callable, Mapping

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from common import atomic_files
from common.checkpoints import trained
from common.cli import inference, program
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from common.errors import FlagError
from sa_siam_tf1 import track_flags
from sa_siam_tf1.configuration import ROOT
from sa_siam_tf1.inference import drawing, live, otb, sequences, targets

_RESULT = "track.json"


def define_flags() -> FlagSet:
    """Return the flags of tracking."""
    flags = FlagSet(__doc__ or "")
    flags.data.paths("sequence", "Folders of frames, OTB sequences, video files, or the number of a camera.")
    flags.alias("sequence", "images", "source")
    flags.data.string("box", None, "Box of the target in the first frame: x,y,width,height, pixels counted from 1.",
                      "the first true box, else drawn with the mouse")
    flags.data.string("ground_truth", None, "File with one true box per line; all are drawn.",
                      "groundtruth_rect.txt of the sequence")
    flags.data.integer("max_frames", None, "Frames after which tracking ends.", 1, unset="all; a camera has no end")
    flags.data.choice("annotate", "mp4", drawing.FORMATS, "Format of the annotated frames.")
    inference.define_background(flags.data)
    flags.data.boolean("response_maps", False, "Draw the response over the annotated frames.")
    track_flags.define(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Track; return the exit status."""
    flags = define_flags().parse(arguments)
    if flags.response_maps and flags.annotate == "none":
        raise FlagError("--response_maps is drawn on annotated frames; --annotate=none makes none")
    chosen = targets.find(flags, ROOT, stop)
    window = targets.open_window(chosen)
    checkpoint = trained.choose(flags, ROOT, "predict")
    device = selection.choose(flags.device, os.environ)
    is_camera = chosen[0].sequence.camera is not None
    if not is_camera:
        chosen = targets.with_boxes(chosen, window)

    from sa_siam_tf1 import restore

    found = []
    with restore.open_tracker(flags, checkpoint, device) as (weights, maker):
        about = dict(branch=weights.model.branch, checkpoints=weights.prefixes)
        if is_camera:
            chosen = targets.with_boxes(chosen, window)
        with stop.deferred() if is_camera else contextlib.nullcontext():  # a signal ends the frames of a camera
            for target in chosen:
                tracking = _Tracking(flags, target, window, checkpoint.output_folder)
                found.append(tracking.run(maker, about, (lambda: None) if is_camera else stop.check))
            if is_camera:
                stop.complete()
    if flags.json:
        all_results = [result for result, _ in found]
        inference.show(all_results[0] if len(found) == 1 else dict(sequences=all_results), [], True)
    else:
        for result, files in found:
            inference.show(result, [*_lines(result), inference.written(*files)], False)
    return 0


class _Tracking:
    """Tracks one target and writes the result to a folder of its own."""

    def __init__(self, flags: FlagValues, target: targets.Target, window: live.Window | None, parent: str):
        """Prepare; nothing is written before the first frame has been tracked."""
        self._flags, self._target, self._window, self._parent = flags, target, window, parent
        self._drawer: drawing.Drawer | None = None
        self._folder = ""
        self._began = 0.0

    def run(self, maker: sequences.MakeTracker, about: Mapping[str, Any], check: Callable[[], None]
            ) -> tuple[dict[str, Any], list[str]]:
        """Track, and write the files; return the result, with what it is `about`, and the paths of the files."""
        sequence, truth = self._target.sequence, self._target.truth
        assert self._target.box is not None
        self._began = time.perf_counter()
        tracked = sequences.track_sequence(sequence, self._target.box, maker, self._draw, check)
        notice = self._target.notice
        if sequence.video and truth is not None and len(truth) != len(tracked.boxes) and sequence.limit is None:
            notice = f"Notice: {sequence.name} has {len(truth)} boxes for {len(tracked.boxes)} frames"
        boxes_path, result_path = (os.path.join(self._folder, name) for name in ("boxes.txt", _RESULT))
        atomic_files.write_text(boxes_path, otb.boxes_text(tracked.boxes))
        annotated = self._drawer.close() if self._drawer else None
        result = dict(sequence=sequence.name, source=sequence.source, first_frame=sequence.first_number,
                      frames=len(tracked.boxes), **about, boxes=boxes_path, annotated=annotated,
                      problems=[line for line in (notice, *tracked.problems,
                                                  self._drawer.notice if self._drawer else "") if line],
                      **sequences.speed(tracked.frame_seconds))
        atomic_files.write_json(result_path, result)
        return result, [result_path, *(os.path.basename(path) for path in (boxes_path, annotated) if path)]

    def _draw(self, number: int, pixels: np.ndarray, box: np.ndarray, location: Any) -> None:
        """Annotate a frame; see `sequences.OnFrame`."""
        sequence, truth, flags = self._target.sequence, self._target.truth, self._flags
        if not self._folder:
            self._folder = result_folder(self._parent, sequence.name)
            self._drawer = None if flags.annotate == "none" else drawing.Drawer(flags.annotate, self._folder)
        window = self._window if sequence.camera else None
        if self._drawer is None and window is None:
            return
        caption = f"frame {sequence.first_number + number}"
        if location is not None:
            caption += (f"  score {location.response.max():.2f}  "
                        f"{number / (time.perf_counter() - self._began):.1f} frames/s")
        true_box = truth[number] if truth is not None and number < len(truth) else None
        drawn = drawing.overlay(pixels, box, true_box, location if flags.response_maps else None, caption)
        if self._drawer is not None:
            self._drawer.add(number, drawn)
        if window is not None and window.is_closed_by(window.show(drawn)):
            sequence.camera.end()


def result_folder(parent: str, name: str) -> str:
    """Make and return a folder that is named after a sequence, with .2, .3, ... appended if that exists."""
    os.makedirs(parent, exist_ok=True)
    for number in itertools.count(1):
        folder = os.path.join(parent, name if number == 1 else f"{name}.{number}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
            break
    return folder


def _lines(result: Mapping[str, Any]) -> list[str]:
    lines = [*result["problems"], f"{result['sequence']}: {result['frames']} frames, branch {result['branch']}"]
    if result["fps"] is not None:
        lines.append(f"{result['fps']:.1f} frames/s; a frame takes {result['ms_median']:.1f} ms "
                     f"(90 %: {result['ms_p90']:.1f}, 99 %: {result['ms_p99']:.1f})")
    return lines


if __name__ == "__main__":
    sys.exit(main())
