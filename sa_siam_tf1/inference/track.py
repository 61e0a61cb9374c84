"""Track a target through frames or a video, from its box in the first frame.

    python3 sa_siam_tf1/inference/track.py --sequence=FOLDER|VIDEO [--box=x,y,width,height] [--checkpoint=FILE|RUN_DIR]

--sequence is a folder of frames, a sequence in OTB's layout (img/ and groundtruth_rect.txt) or a video file. The first
box is that of --box, else of --ground_truth, else of the sequence's own ground truth. Pixels are counted from 1, as in
OTB. Writes boxes.txt, track.json and annotated frames to <run directory>/predict/<sequence>/.
"""
from __future__ import annotations

import itertools
import json
import os
import sys
import time

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)

import numpy as np

from common import atomic_files
from common.checkpoints import trained
from common.cli import program, results, shared_flags
from common.cli.parser import REQUIRED, FlagSet, FlagValues
from common.devices import selection
from common.errors import FlagError
from sa_siam_tf1.inference import frames, otb, sequences

_RESULT = "track.json"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def define_flags() -> FlagSet:
    """Return the flags of tracking."""
    from sa_siam_tf1 import track_flags
    from sa_siam_tf1.inference import drawing

    flags = FlagSet(__doc__ or "")
    flags.data.string("sequence", None, "Folder of frames, OTB sequence, or video file.", REQUIRED)
    flags.alias("sequence", "images")
    flags.data.string("box", None, "Box of the target in the first frame: x,y,width,height, pixels counted from 1.",
                      "the first true box")
    flags.data.string("ground_truth", None, "File with one true box per line; all are drawn.",
                      "groundtruth_rect.txt of the sequence")
    flags.data.choice("annotate", "mp4", drawing.FORMATS, "Format of the annotated frames.")
    shared_flags.define_background(flags.data)
    flags.data.boolean("response_maps", False, "Draw the response over the annotated frames.")
    track_flags.define(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Track; return the exit status."""
    from sa_siam_tf1 import train_siamese_model
    from sa_siam_tf1.inference import drawing

    flags = define_flags().parse(arguments)
    if flags.response_maps and flags.annotate == "none":
        raise FlagError("--response_maps is drawn on annotated frames; --annotate=none makes none")
    path = shared_flags.find_path("sequence", flags.sequence, ROOT)
    opened = frames.open_sequence(path)._replace(background=flags.background)
    sequence, box, truth, notice = align_to_first_box(flags, opened, path)
    checkpoint = trained.choose(flags, ROOT, "predict")
    device = selection.choose(flags.device, os.environ)

    from common.graph.session import inference_session
    from sa_siam_tf1 import restore
    from sa_siam_tf1.inference.tracker import tracker_maker

    folder = result_folder(checkpoint.output_folder, sequence)
    with inference_session(device, flags.device, train_siamese_model.NPU_PRECISION, flags.json) as session:
        weights = restore.tracker_weights(flags, ROOT, checkpoint)
        wrapper = restore.tracker(session, weights, flags.compute_dtype)
        drawer = None if flags.annotate == "none" else drawing.Drawer(flags.annotate, folder)
        began = time.perf_counter()

        def draw(number: int, pixels: np.ndarray, drawn_box: np.ndarray, extra: tuple | None) -> None:
            caption = f"frame {sequence.first_number + number}"
            if extra is not None:
                caption += (f"  score {extra[0].response.max():.2f}  "
                            f"{number / (time.perf_counter() - began):.1f} frames/s")
            true_box = truth[number] if truth is not None and number < len(truth) else None
            if drawer is not None:
                drawer.add(number, drawing.overlay(pixels, drawn_box, true_box,
                                                   extra if flags.response_maps else None, caption))

        tracked = sequences.track_sequence(sequence, box, tracker_maker(session, wrapper), draw, stop.check)
    if sequence.video and truth is not None and len(truth) != len(tracked.boxes):
        notice = f"Notice: {sequence.name} has {len(truth)} boxes for {len(tracked.boxes)} frames"
    os.makedirs(folder, exist_ok=True)
    boxes_path = os.path.join(folder, "boxes.txt")
    atomic_files.write_text(boxes_path, otb.boxes_text(tracked.boxes))
    result = dict(sequence=sequence.name, source=sequence.source, first_frame=sequence.first_number,
                  frames=len(tracked.boxes), branch=weights.model.branch, checkpoints=weights.prefixes,
                  boxes=boxes_path, annotated=drawer.close() if drawer else None,
                  problems=[line for line in (notice, *tracked.problems, drawer.notice if drawer else "") if line],
                  **sequences.speed(tracked.frame_seconds))
    others = filter(None, [boxes_path, result["annotated"]])
    results.report(os.path.join(folder, _RESULT), result, _lines(result), flags.json, others)
    return 0


def result_folder(parent: str, sequence: frames.Sequence) -> str:
    """Return the folder named after a sequence, with .2, .3, ... appended if it holds another sequence's results."""
    for number in itertools.count(1):
        folder = os.path.join(parent, sequence.name if number == 1 else f"{sequence.name}.{number}")
        try:
            with open(os.path.join(folder, _RESULT), encoding="utf-8") as file:
                if json.load(file)["source"] == sequence.source:
                    break
        except FileNotFoundError:
            break
        except (ValueError, KeyError, TypeError):  # written by something else
            continue
    return folder


def _lines(result: dict) -> list[str]:
    lines = [*result["problems"], f"{result['sequence']}: {result['frames']} frames, branch {result['branch']}"]
    if result["fps"] is not None:
        lines.append(f"{result['fps']:.1f} frames/s; a frame takes {result['ms_median']:.1f} ms "
                     f"(90 %: {result['ms_p90']:.1f}, 99 %: {result['ms_p99']:.1f})")
    return lines


def align_to_first_box(flags: FlagValues, sequence: frames.Sequence, path: str) -> tuple:
    """Choose the first frame and its box.

    Args:
        flags: parsed flags.
        sequence: all frames.
        path: where they come from; a folder may hold true boxes.

    Returns:
        The frames from the first box on, that box, all true boxes or None, and a line about them or "".
    """
    truth_path = otb.truth_files(path).get(1)
    if flags.ground_truth:
        truth_path = shared_flags.find_path("ground_truth", flags.ground_truth, ROOT)
    if not truth_path and not flags.box:
        raise FlagError(f"--box=x,y,width,height is needed: {sequence.name} has no groundtruth_rect.txt")
    given = _parse_box(flags.box) if flags.box else None
    if not truth_path:
        return sequence, given, None, ""
    sequence, start, truth, notice = otb.align(sequence, otb.read_boxes(truth_path))
    if given is None:
        return sequence.part(start), truth[0], truth, notice
    return sequence, given, np.concatenate([np.full((start, 4), np.nan), truth]), notice


def _parse_box(value: str) -> np.ndarray:
    try:
        box = np.array([float(number) for number in value.split(",")])
    except ValueError:
        box = np.zeros(0)
    if box.shape != (4,):
        raise FlagError(f"--box={value}: expected x,y,width,height")
    return box


if __name__ == "__main__":
    sys.exit(main())
