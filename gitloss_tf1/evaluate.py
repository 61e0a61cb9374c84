"""Evaluate Git loss: loss, accuracy and class distances of trained weights.

    python3 gitloss_tf1/evaluate.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR]

Writes evaluation.json and features.png to <run directory>/evaluate/.
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import atomic_files
from common.checkpoints import trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.devices import selection

ROOT = os.path.dirname(os.path.abspath(__file__))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Evaluate; return the exit status."""
    from gitloss_tf1 import gitloss, mnist

    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_data(flag_set, "Folder with the four IDX files of MNIST, or its parent.")
    trained.define_flags(flag_set)
    shared_flags.define_device(flag_set)
    flags = flag_set.parse(arguments)
    data_path = shared_flags.require_data_path(flags.data_path)
    weights_at = trained.find(flags, ROOT, "evaluate", dict(os.environ))
    data = mnist.load(shared_flags.find_data_folder(data_path, ROOT, mnist.FOLDER_NAMES, mnist.has_data))
    device = selection.choose(flags.device, os.environ)

    from common.graph.session import inference_session
    from common.plots import figures
    from gitloss_tf1 import evaluation, plots, restore

    if weights_at.run_path:
        data = data._replace(mean_image=restore.mean_image(weights_at, None))
    settings = evaluation.LossSettings.from_arguments(weights_at.arguments(), gitloss.BATCH_SIZE)
    with inference_session(device, flags.device, gitloss.NPU_PRECISION, flags.json) as session:
        graph, centers = restore.forward_graph(session, weights_at, evaluation.BATCH_SIZE)
        found = evaluation.evaluate(session, graph, data, centers, settings, (), with_splits=True)
    result = dict(
        checkpoint=weights_at.prefix,
        validation=found.validation._asdict() if found.validation else None,
        test=found.test._asdict() if found.test else None,
        inter_cls_dist=found.statistics.inter_distance,
        intra_cls_dist=found.statistics.intra_distance,
        inter_to_intra=found.statistics.ratio,
        seconds=found.seconds,
    )
    path = weights_at.write_json("evaluation.json", result)
    pyplot = figures.plotting(weights_at.folder, lambda warning: print(warning, file=sys.stderr))
    plots.draw(pyplot, os.path.join(weights_at.folder, "features.png"), found.train_features, data.train.labels,
                      centers, "training images")
    if flags.json:
        print(atomic_files.to_json(result))
        return 0
    print(f"Checkpoint: {weights_at.prefix}")
    for name, loss in (("Validation", found.validation), ("Test", found.test)):
        if loss:
            print(f"{name}: loss {loss.total:.4f}, accuracy {loss.accuracy:.4f}")
    print(f"Between classes {result['inter_cls_dist']:.4f}, within {result['intra_cls_dist']:.4f}, ratio "
          f"{result['inter_to_intra']:.2f}")
    print(f"Written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
