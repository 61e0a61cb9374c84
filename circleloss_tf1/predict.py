"""Predict with Circle loss whether two faces are the same person.

    python3 circleloss_tf1/predict.py --query=FILE --against=FILE [--checkpoint=FILE|RUN_DIR]

The threshold is the one that evaluate.py stored, unless --far or --threshold is given. Writes prediction.json to <run
directory>/predict/.
"""
from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from circleloss_tf1 import command_line, lfw, usage_flags
from common.checkpoints.trained import Checkpoint
from common.cli import program, shared_flags
from common.cli.parser import REQUIRED, FlagSet, FlagValues
from common.devices import selection
from common.errors import ZooError
from common.evaluation import verification

ROOT = os.path.dirname(os.path.abspath(__file__))


def define_flags() -> FlagSet:
    """Return the flags of prediction."""
    flags = FlagSet(__doc__ or "")
    flags.data.string("query", None, "Image of a face, aligned like the training images.", REQUIRED)
    flags.alias("query", "first")
    flags.data.string("against", None, "Image of another face.", REQUIRED)
    flags.alias("against", "second")
    shared_flags.define_background(flags.data)
    usage_flags.define_far(flags, None, "that of evaluate.py")
    flags.evaluation.number("threshold", None, "Distance below which two faces are the same person.",
                            unset="the one that evaluate.py has stored")
    usage_flags.define(flags)
    return flags


class _Measured(NamedTuple):
    """What evaluate.py has measured of a checkpoint."""

    threshold: float
    threshold_by: str  # "accuracy", "far" or "given"
    thresholds: verification.Thresholds | None
    metric: int
    batch_size: int
    images: list  # str, the images of LFW in the order of the pairs

    @classmethod
    def read(cls, checkpoint: Checkpoint, flags: FlagValues) -> _Measured:
        """Read it, or take --threshold alone where there is nothing to read.

        Raises:
            ZooError: there is neither.
        """
        folder = os.path.join(os.path.dirname(checkpoint.output_folder), "evaluate")
        result_path = os.path.join(folder, "evaluation.json")
        if not os.path.isfile(result_path):
            if flags.threshold is None:
                raise ZooError(f"{result_path}: is missing, and with it the threshold; run evaluate.py first, or give "
                               "--threshold")
            return cls(flags.threshold, "given", None, verification.SQUARED_EUCLIDEAN, 2, [])
        try:
            with open(result_path, encoding="utf-8") as file:
                result = json.load(file)
            images, is_same, distances = lfw.from_csv(os.path.join(folder, lfw.DISTANCES_FILE))
            metric, batch_size = int(result["metric"]), int(result["batch_size"])
            stored = verification.Thresholds(**result["thresholds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ZooError(f"{folder}: holds no evaluation that can be read ({error}); run evaluate.py again"
                           ) from None
        thresholds = verification.measure_thresholds(distances, is_same, stored.far if flags.far is None else flags.far)
        if flags.threshold is not None:
            return cls(flags.threshold, "given", thresholds, metric, batch_size, images)
        if flags.far is not None:
            return cls(thresholds.at_far, "far", thresholds, metric, batch_size, images)
        return cls(stored.chosen, stored.chosen_by, stored, metric, batch_size, images)


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Predict; return the exit status."""
    flags = define_flags().parse(arguments)
    usage_flags.require_far(flags)
    checkpoint = usage_flags.choose(flags, ROOT, "predict")
    images = [shared_flags.find_file(name, flags[name].value, ROOT) for name in ("query", "against")]
    measured = _Measured.read(checkpoint, flags)
    device = selection.choose(flags.device, os.environ)

    from circleloss_tf1 import log_lines, restore
    from common.graph.session import inference_session

    network = restore.network_settings(checkpoint, flags)
    network = dataclasses.replace(network, background=flags.background, switches=dataclasses.replace(
        network.switches, exif_orientation=True))
    needs_context = network.switches.batch_norm == "batch"
    context = [path for path in measured.images if os.path.exists(path)][:measured.batch_size - 2]
    batch = [*images, *context] if needs_context else images
    with inference_session(device, flags.device, command_line.NPU_PRECISION, flags.json) as session:
        embedder = restore.embedder(session, checkpoint, network, len(batch), False, flags.ema_evaluation)
        embeddings = embedder.embed([os.fsencode(path) for path in batch])[:2]
    distance = float(verification.pair_distances(embeddings, measured.metric)[0])
    result = dict(checkpoint=checkpoint.prefix, first=images[0], second=images[1], distance=distance,
                  metric=measured.metric, threshold=measured.threshold, threshold_by=measured.threshold_by,
                  same=distance < measured.threshold)
    thresholds, lines = measured.thresholds, []
    if thresholds is not None:
        result["thresholds"] = thresholds._asdict()
        lines = [f"  {name}: threshold {value:.4f}, {_verdict(distance < value)}" for name, value in (
            ("best accuracy", thresholds.best_accuracy), (f"FAR {thresholds.far:g}", thresholds.at_far))]
        if measured.threshold_by == "far" and not thresholds.resolves_far:
            print(log_lines.far_warning(thresholds), file=sys.stderr)
    if needs_context and not context:
        print("Warning: this network normalizes with the statistics of the batch, here of two images; run evaluate.py "
              "first, so that the pair is looked at among LFW's images", file=sys.stderr)
    checkpoint.report("prediction.json", result, [
        f"{_verdict(result['same'])}: distance {distance:.4f}, threshold {measured.threshold:.4f}", *lines], flags.json)
    return 0


def _verdict(is_same: bool) -> str:
    return "the same person" if is_same else "two people"


if __name__ == "__main__":
    sys.exit(main())
