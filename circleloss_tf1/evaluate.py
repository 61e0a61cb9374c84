"""Evaluate a checkpoint of Circle loss on LFW: accuracy, VAL@FAR and equal error rate.

    python3 circleloss_tf1/evaluate.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR]

Writes to <run directory>/evaluate/: evaluation.json, pairs.csv with the distance of each pair, roc.png, distances.png,
worst_pairs.png with the worst pairs of both kinds of error, and with --projector the embeddings for TensorBoard.
evaluation.json holds the threshold for predict.py. It accepts a fraction --far of the pairs of different people or, if
there are too few such pairs to measure that, has the best accuracy.
"""
from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from circleloss_tf1 import lfw, log_lines, plots, thresholds, train_acc, usage_flags, verification_set
from circleloss_tf1.faces import ROOT
from circleloss_tf1.recipe import Switches
from common import atomic_files, console
from common.checkpoints import projector
from common.checkpoints.trained import Checkpoint
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.data import images
from common.devices import selection
from common.plots import figures


def define_flags() -> FlagSet:
    """Return the flags of the evaluation."""
    flags = FlagSet(__doc__ or "")
    usage_flags.define_lfw(flags)
    usage_flags.define_far(flags, lfw.FAR_TARGET)
    projector.define_flag(flags)
    usage_flags.define(flags)
    shared_flags.define_switches(flags.model, Switches, ("exif_orientation",), "the run's")
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Evaluate; return the exit status."""
    flags = define_flags().parse(arguments)
    checkpoint = usage_flags.choose(flags, "evaluate")
    if flags.lfw_pairs and flags.lfw_pairs.endswith(verification_set.SUFFIX):
        path = shared_flags.find_path("lfw_pairs", flags.lfw_pairs, ROOT)
        images_folder = os.path.join(checkpoint.output_folder, os.path.splitext(os.path.basename(path))[0])
        pairs = verification_set.extract(path, images_folder, flags.lfw_nrof_folds)
    else:
        pairs = usage_flags.require_pairs(flags)
    device = selection.choose(flags.device, os.environ)

    from circleloss_tf1 import evaluation, restore
    from common.graph.session import inference_session

    network = restore.network_settings(checkpoint, flags)
    with inference_session(device, flags.device, train_acc.NPU_PRECISION, flags.json) as session:
        embedder = restore.embedder(session, checkpoint, network, flags.lfw_batch_size, flags.lfw_use_flipped_images,
                                    flags.ema_evaluation)
        embeddings = embedder.embed_pairs(session, pairs)
    verified = evaluation.verify(embeddings, pairs, flags)
    measured = thresholds.measure(verified.distances, pairs.is_same, flags.far)
    result = dict(checkpoint=checkpoint.prefix, model_def=network.model_def, batch_norm=network.switches.batch_norm,
                  metric=int(flags.lfw_distance_metric), batch_size=flags.lfw_batch_size, pairs=len(pairs.is_same),
                  threshold=measured.chosen, threshold_by=measured.chosen_by, thresholds=measured._asdict(),
                  **lfw.summary(verified))
    result["worst_pairs"] = _draw(checkpoint, pairs, verified, measured)
    if flags.projector:
        _write_embeddings(checkpoint, pairs, embeddings)
    if not measured.resolves_far:
        console.notice(measured.warning())
    checkpoint.report(thresholds.RESULT_FILE, result,
                      [*pairs.notices, *log_lines.lfw_lines(result), measured.line(),
                       *map(_line, result["worst_pairs"])], flags.json)
    return 0


def _draw(checkpoint: Checkpoint, pairs: lfw.Pairs, verified: lfw.Verification,
          measured: thresholds.Thresholds) -> list[dict[str, Any]]:
    """Write the distances and the pictures; return the pairs furthest wrong."""
    atomic_files.write_text(checkpoint.file(thresholds.DISTANCES_FILE), thresholds.to_csv(pairs, verified.distances))
    pyplot = figures.plotting()
    plots.draw_roc(pyplot, checkpoint, verified, pairs)
    plots.draw_distances(pyplot, checkpoint, verified, pairs, measured)
    worst = plots.worst_pairs(verified, pairs, measured.best_accuracy)
    plots.draw_pairs(pyplot, checkpoint, pairs, verified, worst)
    return [dict(images=pairs.paths[2 * pair:2 * pair + 2], same=bool(pairs.is_same[pair]),
                 distance=float(verified.distances[pair])) for pair in worst]


def _write_embeddings(checkpoint: Checkpoint, pairs: lfw.Pairs, embeddings: np.ndarray) -> None:
    """Write the embeddings for TensorBoard, of each image once."""
    first = {path: index for index, path in reversed(list(enumerate(pairs.paths)))}
    paths = sorted(first)
    people = [os.path.basename(os.path.dirname(path)) for path in paths]
    projector.write(checkpoint, embeddings[[first[path] for path in paths]],
                    dict(person=people, image=[os.path.basename(path) for path in paths]),
                    lambda index: np.asarray(images.open_image(paths[index], "RGB")))


def _line(pair: dict[str, Any]) -> str:
    names = " and ".join(os.path.basename(image) for image in pair["images"])
    return f"wrong: {names} are {'the same' if pair['same'] else 'different'}, distance {pair['distance']:.4f}"


if __name__ == "__main__":
    sys.exit(main())
