"""Evaluate a checkpoint of Git loss: loss, accuracy and distances of classes.

    python3 gitloss_tf1/evaluate.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR]

Writes evaluation.json, features.png and with --projector the features of the training images to <run
directory>/evaluate/.
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import projector, trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.devices import selection
from gitloss_tf1 import gitloss, mnist


def define_flags() -> FlagSet:
    """Return the flags of the evaluation."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder with the four IDX files of MNIST, or its parent.")
    projector.define_flag(flags)
    trained.define_flags(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Evaluate; return the exit status."""
    flags = define_flags().parse(arguments)
    folder = mnist.find_folder(flags.data_path)
    checkpoint = trained.choose(flags, mnist.ROOT, "evaluate")
    data = mnist.load(folder)
    device = selection.choose(flags.device, os.environ)

    from common.graph.session import inference_session
    from common.plots import figures
    from gitloss_tf1 import evaluation, plots, restore
    from gitloss_tf1.recipe import LossSettings

    if checkpoint.run_path:
        data = data._replace(mean_image=restore.mean_image(checkpoint, None))
    settings = LossSettings.from_identity(checkpoint.run_identity())
    with inference_session(device, flags.device, gitloss.NPU_PRECISION, flags.json) as session:
        graph = restore.forward_graph(session, checkpoint, evaluation.BATCH_SIZE)
        measured = evaluation.evaluate(session, graph, data, settings, with_splits=True)
    statistics = measured.statistics
    result = dict(checkpoint=checkpoint.prefix, **{name: loss._asdict() for name, loss in measured.splits.items()},
                  inter_cls_dist=statistics.inter_distance, intra_cls_dist=statistics.intra_distance,
                  inter_to_intra=statistics.ratio, seconds=measured.seconds)
    title = f"training images and centers, ratio of class distances {statistics.ratio:.2f}"
    plots.draw(figures.plotting(), checkpoint.file("features.png"), measured.train_features, data.train.labels,
               measured.centers, checkpoint.title(title))
    if flags.projector:
        projector.write(checkpoint, measured.train_features,
                        dict(digit=data.train.labels, image=range(len(data.train.labels))),
                        lambda index: data.train.images[index, ..., 0])
    lines = [f"{name.capitalize()}: loss {loss.total:.4f}, accuracy {loss.accuracy:.4f}"
             for name, loss in measured.splits.items()]
    lines.append(f"Between classes {statistics.inter_distance:.4f}, within {statistics.intra_distance:.4f}, ratio "
                 f"{statistics.ratio:.2f}")
    checkpoint.report("evaluation.json", result, lines, flags.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
