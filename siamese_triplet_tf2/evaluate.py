"""Evaluate the triplet network: triplet accuracy, and how well left images find their right ones.

    python3 siamese_triplet_tf2/evaluate.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR]

Measures the pairs that the run kept for validation; --pairs=all takes every pair of the folder, for data that no run
has seen. Writes evaluation.json, the embeddings, and retrievals.png with the best and the worst to <run
directory>/evaluate/.
"""
from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import numpy as np

from common import atomic_files
from common.checkpoints import trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.devices import selection
from common.errors import ZooError

if TYPE_CHECKING:
    from siamese_triplet_tf2.pairs import Pairs, Sampler

ROOT = os.path.dirname(os.path.abspath(__file__))
NUM_SHOWN, NUM_FOUND = 5, 4


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Evaluate; return the exit status."""
    from siamese_triplet_tf2 import pairs, siamese_network

    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_data(flag_set, "Folder with left/ and right/, or its parent.")
    flag_set.evaluation.choice("pairs", "validation", ["validation", "all"], "Measure the pairs that the run kept for "
                               "validation, or all.")
    trained.define_flags(flag_set)
    shared_flags.define_device(flag_set)
    flags = flag_set.parse(arguments)
    data_path = shared_flags.require_data_path(flags.data_path)
    weights_at = trained.find(flags, ROOT, "evaluate", dict(os.environ))
    data = pairs.load(shared_flags.find_data_folder(data_path, ROOT, pairs.FOLDER_NAMES, pairs.has_data))
    run = weights_at.arguments()
    sampler = pairs.Sampler(len(data.left), run.get("seed", 0), "fixed", run.get("negatives", "listed"))
    if flags.pairs == "validation":
        _require_same_data(run, data)
    device = selection.choose(flags.device, os.environ)

    from common.keras import session
    from siamese_triplet_tf2 import evaluation, restore

    session.start(device, flags.device, siamese_network.NPU_PRECISION, flags.json)
    started = time.perf_counter()
    network = restore.TrainedEmbedding(weights_at)
    triplets, chosen = _choose(sampler, flags.pairs, len(data.left))
    numbers = evaluation.images_needed(triplets, chosen, len(data.left))
    images = data.images()
    embeddings = network.embed([images[number] for number in numbers])
    result: dict[str, Any] = dict(checkpoint=weights_at.prefix, pairs=len(chosen))
    result.update(evaluation.measure(numbers, embeddings, triplets, chosen, len(data.left)))
    left, right = (embeddings[np.searchsorted(numbers, chosen + shift)] for shift in (0, len(data.left)))
    result["retrievals"] = _show(weights_at, data, chosen, left, right)
    result["seconds"] = time.perf_counter() - started
    path = weights_at.write_json("evaluation.json", result)
    if flags.json:
        print(atomic_files.to_json(result))
        return 0
    print(f"Checkpoint: {weights_at.prefix}")
    print(f"{result['pairs']} pairs: loss {result['valid_loss']:.4f}, triplet accuracy "
          f"{result['triplet_accuracy']:.4f}")
    for metric in ("cosine", "l2"):
        recalls = ", ".join(f"recall@{count} {result[f'{metric}_recall_at_{count}']:.4f}" for count in (1, 5, 10))
        print(f"By {metric}: {recalls}, median rank {result[f'{metric}_median_rank']:.1f}")
    print(f"Mean similarity: of pairs {result['positive_similarity']:.4f}, of others "
          f"{result['negative_similarity']:.4f}")
    print(f"Written: {path} and retrievals.png")
    return 0


def _require_same_data(run: dict[str, Any], data: Pairs) -> None:
    if run.get("data") != data.fingerprint():
        raise ZooError("--data_path: is not the data that the run was trained on, or the checkpoint lies in no run, so "
                       "the pairs kept for validation are not known; take --pairs=all")


def _choose(sampler: Sampler, which: str, num_pairs: int) -> tuple[Any, np.ndarray]:
    """Triplets and numbers of pairs to measure."""
    if which == "validation":
        return sampler.validation(0), sampler.validation_pairs()
    return sampler.all(), np.arange(num_pairs)


def _show(weights_at: trained.Trained, data: Pairs, chosen: np.ndarray, left: np.ndarray, right: np.ndarray
          ) -> dict[str, list[dict[str, Any]]]:
    """Draw the left images that find their right ones best, and worst, with what they find; return them by name."""
    from common.plots import image_grid
    from siamese_triplet_tf2 import restore, retrieval

    similarity = retrieval.similarities(left, right, "cosine")
    found = retrieval.ranks(similarity)
    own = np.diagonal(similarity)
    order = np.lexsort((-own, found))  # by rank, then by similarity
    shown: dict[str, list[dict[str, Any]]] = {}
    rows = []
    for kind, places in (("best", order[:NUM_SHOWN]), ("worst", order[::-1][:NUM_SHOWN])):
        shown[kind] = []
        for place in places:
            nearest = np.argsort(-similarity[place], kind="stable")[:NUM_FOUND]
            names = [os.path.basename(data.right[chosen[other]]) for other in nearest]
            shown[kind].append(dict(left=os.path.basename(data.left[chosen[place]]), rank=int(found[place]),
                                    similarity=float(own[place]), nearest=names))
            cells = [(data.left[chosen[place]], f"{kind}, rank {found[place]}"),
                     (data.right[chosen[place]], f"its own {own[place]:.3f}")]
            cells += [(data.right[chosen[other]], f"{number}. {similarity[place, other]:.3f}")
                      for number, other in enumerate(nearest, 1)]
            rows.append([image_grid.Cell(restore.image_of(path), text) for path, text in cells])
    image_grid.draw(os.path.join(weights_at.folder, "retrievals.png"),
                       "left image, its right image, and the nearest right images by cosine", rows)
    return shown


if __name__ == "__main__":
    sys.exit(main())
