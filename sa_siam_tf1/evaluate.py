"""Evaluate SA-Siam by one-pass evaluation of sequences with true boxes, beside baselines.

    python3 sa_siam_tf1/evaluate.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR]

FOLDER contains sequences in OTB's layout, <name>/img/*.jpg and <name>/groundtruth_rect.txt, or is one. The boxes of a
second target are in groundtruth_rect.2.txt. Writes evaluation.json, success.png and precision.png to <run
directory>/evaluate/, and the boxes of each sequence to trackers/, from which a stopped evaluation resumes.
"""
from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import bundle, trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.devices import selection
from sa_siam_tf1 import evaluation, track_flags
from sa_siam_tf1.configuration import ROOT

OURS = "SA-Siam"


def define_flags() -> FlagSet:
    """Return the flags of the evaluation."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder of sequences with true boxes, as in OTB, VOT, LaSOT, GOT-10k, "
                             "UAV123 or TrackingNet, or one sequence.")
    flags.evaluation.boolean("baselines", True, "Also evaluate a box that never moves, and the trackers of OpenCV.")
    track_flags.define(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Evaluate; return the exit status."""
    flags = define_flags().parse(arguments)
    targets = evaluation.find_targets(shared_flags.find_path("data_path", flags.data_path, ROOT))
    checkpoint = trained.choose(flags, ROOT, "evaluate")
    device = selection.choose(flags.device, os.environ)

    from common.graph import compat
    from sa_siam_tf1 import restore

    def say(line: str) -> None:
        print(line, file=sys.stderr if flags.json else sys.stdout, flush=True)

    for notice in filter(None, (target.notice for target in targets)):
        say(notice)
    scores: dict[str, Any] = {}
    with restore.open_tracker(flags, checkpoint, device) as (weights, make_tracker):
        identity = identity_of(weights, flags.compute_dtype, compat.device_and_version(device, flags.device))
        contenders = [evaluation.Contender(OURS, make_tracker, identity)]
        if flags.baselines:
            contenders += evaluation.baselines()
        for contender in contenders:
            scores[contender.name] = evaluation.evaluate_tracker(contender, targets, checkpoint.output_folder, stop,
                                                                 say)
    result = dict(branch=weights.model.branch, checkpoints=weights.prefixes,
                  sequences=[target.name for target in targets], trackers=scores)
    evaluation.draw(scores, checkpoint)
    checkpoint.report("evaluation.json", result, evaluation.table(scores), flags.json)
    return 0


def identity_of(weights: Any, compute_dtype: str, platform: str) -> list:
    """What our boxes depend on besides the sequence: weights, type of the convolutions, device and TensorFlow."""
    return [weights.model, weights.track, compute_dtype, platform,
            [bundle.fingerprint(prefix) for prefix in weights.prefixes.values()]]


if __name__ == "__main__":
    sys.exit(main())
