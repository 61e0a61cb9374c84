"""Evaluate the triplet network: triplet accuracy, and retrieval of the right image for a left one.

    python3 siamese_triplet_tf2/evaluate.py --data_path=FOLDER [--checkpoint=FILE|RUN_DIR]

Evaluates on the validation pairs of the run or, with --pairs=all, on all pairs of a folder that was not used for
training. Writes evaluation.json, embeddings.npz, retrievals.png with the best and the worst results, and with
--projector the embeddings for TensorBoard to <run directory>/evaluate/.
"""
from __future__ import annotations

import os
import sys
import time
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from common import console
from common.checkpoints import projector, trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.devices import selection
from common.errors import ZooError
from common.plots import figures, ranking
from siamese_triplet_tf2 import pairs, siamese_network

ROOT = os.path.dirname(os.path.abspath(__file__))
NUM_SHOWN, NUM_NEAREST, NUM_DRAWN = 5, 4, 3


def define_flags() -> FlagSet:
    """Return the flags of the evaluation."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder with left/ and right/, or its parent.")
    flags.evaluation.choice("pairs", "validation", ["validation", "all"], "Pairs to evaluate on: the validation "
                            "pairs of the run, or all.")
    projector.define_flag(flags)
    trained.define_flags(flags)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Evaluate; return the exit status."""
    flags = define_flags().parse(arguments)
    folder = shared_flags.find_data_folder(flags.data_path, ROOT, pairs.FOLDER_NAMES, pairs.has_data)
    checkpoint = trained.choose(flags, ROOT, "evaluate")
    data = pairs.load(folder)
    run = checkpoint.run_identity()
    sampler = pairs.Sampler(len(data.left), run.get("seed", 0), "fixed", run.get("negatives", "listed"))
    if flags.pairs == "validation" and run.get("data") != data.fingerprint():
        raise ZooError("--data_path: not the data that the run was trained on, or the checkpoint belongs to no run, so "
                       "the validation pairs are unknown; use --pairs=all")
    device = selection.choose(flags.device, os.environ)

    from common.keras import session
    from siamese_triplet_tf2 import bad_images, evaluation, log_lines, restore

    session.start(device, flags.device, siamese_network.NPU_PRECISION, flags.json)
    started = time.perf_counter()
    network = restore.TrainedEmbedding(checkpoint)
    triplets, chosen = (sampler.all(), np.arange(len(data.left))) if flags.pairs == "all" else (
        sampler.validation(0), sampler.validation_pairs())
    indices = evaluation.images_needed(triplets, chosen, len(data.left))
    images = data.images()
    needed = [images[index] for index in indices]
    reasons = network.find_bad(needed)
    if reasons:
        raise ZooError(f"{len(reasons)} of {len(needed)} images cannot be used: {bad_images.names(reasons)}")
    embeddings = network.embed(needed)
    result: dict[str, Any] = dict(checkpoint=checkpoint.prefix, pairs=len(chosen))
    result.update(evaluation.measure(indices, embeddings, triplets, chosen, len(data.left)))
    left, right = (embeddings[np.searchsorted(indices, chosen + shift)] for shift in (0, len(data.left)))
    result["retrievals"] = _draw(checkpoint, data, chosen, left, right)
    result["seconds"] = time.perf_counter() - started
    if flags.projector:
        paths = [path for side in (data.left, data.right) for path in np.asarray(side)[chosen]]
        sides = [side for side in ("left", "right") for _ in chosen]
        projector.write(checkpoint, np.concatenate([left, right]),
                        dict(pair=[*chosen, *chosen], side=sides, image=[os.path.basename(path) for path in paths]),
                        lambda index: restore.image_of(paths[index]))
    if log_lines.has_collapsed(result):
        console.notice(log_lines.collapse_warning(run.get("recipe")))
    checkpoint.report("evaluation.json", result, _lines(result), flags.json)
    return 0


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [f"{result['pairs']} pairs: loss {result['valid_loss']:.4f}, triplet accuracy "
             f"{result['triplet_accuracy']:.4f}"]
    for metric in ("cosine", "l2"):
        recalls = ", ".join(f"recall@{count} {result[f'{metric}_recall_at_{count}']:.4f}" for count in (1, 5, 10))
        lines.append(f"By {metric}: {recalls}, median rank {result[f'{metric}_median_rank']:.1f}")
    lines.append(f"Mean similarity: of pairs {result['positive_similarity']:.4f}, of others "
                 f"{result['negative_similarity']:.4f}")
    return lines


def _draw(checkpoint: trained.Checkpoint, data: pairs.Pairs, chosen: np.ndarray, left: np.ndarray, right: np.ndarray
          ) -> dict[str, list[dict[str, Any]]]:
    """Draw the best and the worst retrievals; return the names of their images."""
    from siamese_triplet_tf2 import evaluation, restore

    similarity = evaluation.similarities(left, right, "cosine")
    ranks = evaluation.ranks(similarity)
    own = np.diagonal(similarity)
    order = np.lexsort((-own, ranks))  # by rank, then by similarity
    shown: dict[str, list[dict[str, Any]]] = {}
    lines = []
    for kind, indices in (("best", order[:NUM_SHOWN]), ("worst", order[::-1][:NUM_SHOWN])):
        shown[kind] = []
        for index in indices:
            nearest = np.argsort(-similarity[index], kind="stable")[:NUM_NEAREST]
            names = [os.path.basename(data.right[chosen[other]]) for other in nearest]
            shown[kind].append(dict(left=os.path.basename(data.left[chosen[index]]), rank=int(ranks[index]),
                                    similarity=float(own[index]), nearest=names))
            lines.append([ranking.Cell(data.left[chosen[index]], f"{kind}: rank {ranks[index]}", None, is_query=True),
                          ranking.Cell(data.right[chosen[index]], f"its match: {own[index]:.3f}", True)])
            lines[-1] += [ranking.Cell(data.right[chosen[other]], f"{number}. {similarity[index, other]:.3f}",
                                       bool(other == index)) for number, other in enumerate(nearest[:NUM_DRAWN], 1)]
    median = float(np.median(ranks))
    ranking.draw_lines(figures.plotting(), checkpoint.file("retrievals.png"), checkpoint.title(
        f"median rank {median:.1f}: image, match, nearest by cosine"), lines, restore.image_of)
    return shown


if __name__ == "__main__":
    sys.exit(main())
