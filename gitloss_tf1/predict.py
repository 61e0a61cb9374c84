"""Predict digits with Git loss: class, 2-D feature and distance to each center.

    python3 gitloss_tf1/predict.py --images=FILE|FOLDER,... [--checkpoint=FILE|RUN_DIR]

Digits are white on black as in MNIST; --invert is for black on white. Transparent images are placed on
white, or on black with --background=black. Unreadable images in a folder are reported and left out; the exit status is
then 1. Writes predictions.json to <run directory>/predict/, or to 2/, 3/, ... in it if it holds one already.
"""
from __future__ import annotations

import os
import sys
from typing import Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from common import console
from common.checkpoints import trained
from common.cli import inference, program
from common.cli.parser import FlagSet
from common.data import image_search
from common.data.image_search import LeftOut
from common.devices import selection
from gitloss_tf1 import gitloss, mnist
from gitloss_tf1.export import define_data

PRINTED = 20


def define_flags() -> FlagSet:
    """Return the flags of prediction."""
    flags = FlagSet(__doc__ or "")
    flags.data.paths("images", "Images, folders of images, searched recursively, or IDX files of images.")
    flags.evaluation.integer("top", 1, "Number of most likely digits to list for each image.", 1, mnist.NUM_CLASSES)
    flags.data.boolean("invert", False, "The digits are black on white.")
    inference.define_background(flags.data)
    define_data(flags)
    trained.define_flags(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Predict; return the exit status."""
    flags = define_flags().parse(arguments)
    checkpoint = trained.choose(flags, mnist.ROOT, "predict")
    paths = inference.find_paths("images", flags.images, mnist.ROOT)
    left_out = LeftOut(paths)
    names, images = _read(paths, flags.background, left_out)
    if flags.invert:
        images = 255 - images
    device = selection.choose(flags.device, os.environ)

    from common.graph.session import inference_session
    from gitloss_tf1 import evaluation, restore

    mean_image = restore.mean_image(checkpoint, flags.data_path)
    with inference_session(device, flags.device, gitloss.NPU_PRECISION, flags.json) as session:
        graph = restore.forward_graph(session, checkpoint, min(len(images), evaluation.BATCH_SIZE))
        features, logits = evaluation.forward(session, graph, images, mean_image)
        centers = session.run(graph.centers)
    distances = np.linalg.norm(features[:, None, :] - centers[None, :, :], axis=2)  # [num, classes]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True).astype(np.float64))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    most_likely = np.argsort(-probabilities, axis=1, kind="stable")[:, :flags.top]
    predictions = [dict(image=name, label=int(labels[0]), probability=float(probability[labels[0]]),
                        most_likely=[dict(label=int(label), probability=float(probability[label])) for label in labels],
                        feature=[float(x) for x in feature], center_distances=[float(x) for x in row])
                   for name, labels, probability, feature, row in zip(names, most_likely, probabilities, features,
                                                                      distances)]
    with checkpoint.numbered("predictions.json") as place:
        place.report("predictions.json", dict(checkpoint=checkpoint.prefix, left_out=left_out.reasons,
                                              predictions=predictions), _lines(predictions), flags.json)
    left_out.require_none(len(names) + len(left_out.reasons))
    return 0


def _lines(predictions: list[dict]) -> list[str]:
    lines = []
    for prediction in predictions[:PRINTED]:
        x, y = prediction["feature"]
        distances = " ".join(f"{distance:.2f}" for distance in prediction["center_distances"])
        digits = ", ".join(f"{digit['label']} ({digit['probability']:.1%})" for digit in prediction["most_likely"])
        lines.append(f"{prediction['image']}: {digits}, feature ({x:.3f}, {y:.3f}), distances to the centers "
                     f"{distances}")
    if len(predictions) > PRINTED:
        lines.append(f"... and {len(predictions) - PRINTED} more")
    return lines


def _read(paths: Sequence[str], background: str, left_out: LeftOut) -> tuple[list[str], np.ndarray]:
    """Return names and images, uint8 [num, 28, 28, 1]."""
    parts = [_read_idx(path) if os.path.isfile(path) and "idx3-ubyte" in os.path.basename(path)
             else _read_images(path, background, left_out) for path in paths]
    return [name for names, _ in parts for name in names], np.concatenate([digits for _, digits in parts])


def _read_idx(path: str) -> tuple[list[str], np.ndarray]:
    digits = mnist.read_images(path)
    return [f"{os.path.basename(path)}[{number}]" for number in range(len(digits))], digits


def _read_images(path: str, background: str, left_out: LeftOut) -> tuple[list[str], np.ndarray]:
    decoded = left_out.read(image_search.find_images([path]),
                            lambda name: image_search.read_gray(name, mnist.SIDE, background))
    digits = np.stack(list(decoded.values()))[..., None]
    for notice in image_search.one_color_notices(list(decoded), digits):
        console.notice(notice)
    return [os.path.basename(name) for name in decoded], digits


if __name__ == "__main__":
    sys.exit(main())
