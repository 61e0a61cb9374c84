"""Evaluate SA-Siam: one-pass evaluation over sequences with true boxes, beside baselines.

    python3 sa_siam_tf1/evaluate.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR]

FOLDER holds sequences in OTB's layout, <name>/img/*.jpg and <name>/groundtruth_rect.txt, or is one; a second target's
boxes are in groundtruth_rect.2.txt. Writes evaluation.json, success.png and precision.png to <run
directory>/evaluate/, and each sequence's boxes to trackers/, from where an evaluation that was stopped goes on.
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from typing import Any, Callable

from common import device as devices
from common import files, program, trained
from common import flags as zoo_flags
from common.flag_set import FlagSet
from common.program import StopRequest

ROOT = os.path.dirname(os.path.abspath(__file__))
OURS = "SA-Siam"


def define_flags() -> FlagSet:
    """Return the flags of the evaluation."""
    from sa_siam_tf1 import track_flags

    flags = FlagSet(__doc__ or "")
    zoo_flags.define_data(flags, "folder of sequences in OTB's layout, or one such sequence")
    flags.boolean("baselines", True, "also run a box that never moves, and OpenCV's trackers where it has them")
    track_flags.define(flags)
    track_flags.define_device(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Evaluate; return the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return program.run(lambda stop: _evaluate(arguments, stop))


def _evaluate(arguments: list[str], stop: StopRequest) -> int:
    from sa_siam_tf1 import evaluation, train_siamese_model
    from sa_siam_tf1.inference import baselines

    flags = define_flags().parse(arguments)
    data_path = zoo_flags.require_data_path(flags.data_path)
    targets = evaluation.find_targets(zoo_flags.find_path("data_path", data_path, ROOT))
    found = trained.find(flags, ROOT, "evaluate", dict(os.environ))
    device = devices.choose(flags.device, os.environ)

    from common import bundles, graph_use
    from sa_siam_tf1 import weights
    from sa_siam_tf1.inference.tracker import tracker_maker

    def say(line: str) -> None:
        print(line, file=sys.stderr if flags.json else sys.stdout, flush=True)

    for notice in filter(None, (target.notice for target in targets)):
        say(notice)
    results: dict[str, Any] = {}
    with graph_use.session(device, flags.device, train_siamese_model.NPU_PRECISION, flags.json) as session:
        of_tracker = weights.find(flags, ROOT, found)
        wrapper = weights.restore(session, of_tracker, flags.compute_dtype)
        identity = [of_tracker.model, of_tracker.track, flags.compute_dtype,
                    [bundles.fingerprint(prefix) for prefix in of_tracker.prefixes.values()]]
        makers: dict[str, tuple[Callable, list]] = {OURS: (tracker_maker(session, wrapper), identity)}
        if flags.baselines:
            makers.update((name, (maker, [name])) for name, maker in baselines.makers().items())
        for name, (maker, maker_identity) in makers.items():
            results[name] = evaluation.evaluate_tracker(name, maker, maker_identity, targets, found.folder, stop, say)
    result = dict(branch=of_tracker.model.branch, checkpoints=of_tracker.prefixes,
                  sequences=[target.name for target in targets], trackers=results)
    path = found.write_json("evaluation.json", result)
    evaluation.draw(results, found.folder)
    if flags.json:
        print(files.to_json(result))
        return 0
    for line in evaluation.table(results):
        print(line)
    print(f"Written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
