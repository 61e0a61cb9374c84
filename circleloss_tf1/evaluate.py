"""Evaluate Circle loss on LFW: accuracy, VAL@FAR and EER of trained weights.

    python3 circleloss_tf1/evaluate.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR]

Writes evaluation.json, pairs.csv with the distance of every pair, roc.png, distances.png and the pairs furthest wrong,
worst_pairs.png, to <run directory>/evaluate/.
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from circleloss_tf1 import command_line
from common import atomic_files
from common.checkpoints import trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.devices import selection
from common.errors import ZooError

ROOT = os.path.dirname(os.path.abspath(__file__))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Evaluate; return the exit status."""
    from circleloss_tf1 import data_folders, usage_flags

    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_data(flag_set, "Folder with lfw-deepfunneled_align.", "required without --lfw_dir")
    command_line.define_lfw(flag_set)
    usage_flags.define_flags(flag_set)
    flags = flag_set.parse(arguments)
    if not flags.lfw_dir:
        shared_flags.require_data_path(flags.data_path)
    weights_at = trained.find(flags, ROOT, "evaluate", dict(os.environ))
    usage_flags.take_from_run(flags, weights_at.arguments())
    folder = data_folders.find_lfw(flags, ROOT)
    if folder is None:
        raise ZooError(f"--data_path={flags.data_path}: holds no lfw-deepfunneled_align; give --lfw_dir=FOLDER")
    pairs = data_folders.read_pairs(flags, folder, ROOT)
    device = selection.choose(flags.device, os.environ)

    from circleloss_tf1 import evaluation, lfw, restore
    from common.graph.session import inference_session

    settings = evaluation.LfwSettings.from_flags(flags)
    network = restore.network_settings(weights_at, flags)
    with inference_session(device, flags.device, command_line.NPU_PRECISION, flags.json) as session:
        embedder = restore.embedder(session, weights_at, network, settings.batch_size, settings.use_flipped_images,
                                    flags.ema_evaluation)
        once = network.switches.batch_norm == "moving"
        embeddings = evaluation.embed_pairs(embedder, pairs, once, lambda number: None)
    found = evaluation.verify(embeddings, pairs, settings)
    result = dict(checkpoint=weights_at.prefix, model_def=network.model_def, batch_norm=network.switches.batch_norm,
                  metric=settings.metric, batch_size=settings.batch_size, pairs=len(pairs.is_same),
                  **lfw.summary(found))
    path = _write(weights_at, pairs, found, result)
    if flags.json:
        print(atomic_files.to_json(result))
        return 0
    _print(result, pairs.notices, path)
    return 0


def _write(weights_at: trained.Trained, pairs, found, result: dict) -> str:
    """Write the files; return the path of evaluation.json."""
    from circleloss_tf1 import lfw, plots
    from common.plots import figures

    os.makedirs(weights_at.folder, exist_ok=True)
    atomic_files.write_text(os.path.join(weights_at.folder, lfw.DISTANCES_FILE), lfw.to_csv(pairs, found.distances))
    pyplot = figures.plotting(weights_at.folder, lambda warning: print(warning, file=sys.stderr))
    plots.draw_roc(pyplot, os.path.join(weights_at.folder, "roc.png"), found)
    plots.draw_distances(pyplot, os.path.join(weights_at.folder, "distances.png"), found, pairs)
    worst = plots.worst_pairs(found, pairs, result["lfw_threshold"])
    plots.draw_pairs(os.path.join(weights_at.folder, "worst_pairs.png"), pairs, found, worst)
    result["worst_pairs"] = [dict(images=pairs.paths[2 * pair:2 * pair + 2], same=bool(pairs.is_same[pair]),
                                  distance=float(found.distances[pair])) for pair in worst]
    return weights_at.write_json("evaluation.json", result)


def _print(result: dict, notices: list, path: str) -> None:
    from circleloss_tf1 import log_lines

    for line in (*notices, f"Checkpoint: {result['checkpoint']}", *log_lines.lfw_lines(result)):
        print(line)
    for pair in result["worst_pairs"]:
        names = " and ".join(os.path.basename(image) for image in pair["images"])
        print(f"wrong: {names} are {'the same' if pair['same'] else 'different'}, distance {pair['distance']:.4f}")
    print(f"Written: {path}")


if __name__ == "__main__":
    sys.exit(main())
