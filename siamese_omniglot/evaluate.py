"""Evaluate the Siamese network: pairs with ROC, N-way K-shot episodes, and Omniglot's one-shot runs.

    python3 siamese_omniglot/evaluate.py --data_path=FOLDER [--one_shot=FOLDER|ZIP] [--checkpoint=FILE|RUN_DIR]

Pairs and episodes come from the validation drawings of the run, or with --part=all from all drawings, for characters
that the run has not seen. --one_shot is Omniglot's one_shot_all_runs, 20 tasks within an alphabet. Writes
evaluation.json, roc.png, one_shot.png and with --projector the features to <run directory>/evaluate/.
"""
from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Sequence

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from common import console
from common.checkpoints import projector, trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from common.evaluation import one_shot
from siamese_omniglot.data import omniglot, one_shot_runs
from siamese_omniglot.recipe import Switches

if TYPE_CHECKING:
    from siamese_omniglot.evaluation import Scorer

ROOT = os.path.dirname(os.path.abspath(__file__))
TASKS = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways, shots


def define_flags() -> FlagSet:
    """Return the flags."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder of the alphabets, or its parent.")
    flags.alias("data_path", "train_data_path")
    flags.data.string("one_shot", None, "Folder or zip archive of Omniglot's one-shot runs.")
    flags.evaluation.choice("part", "validation", ["validation", "all"], "Drawings to draw pairs and episodes from.")
    flags.evaluation.integer("num_pairs", 4000, "Number of pairs, half of them of the same character.", 2)
    flags.evaluation.integer("episodes", 100, "Number of episodes of each kind.", 2)
    flags.evaluation.integer("seed", 0, "Seed of pairs and episodes.", 0, shared_flags.MAX_SEED)
    projector.define_flag(flags)
    trained.define_flags(flags)
    define_network(flags)
    shared_flags.define_switches(flags.data, Switches, ("split",), "the run's, else image")
    return flags


def define_network(flags: FlagSet) -> None:
    """Define the flags for the network of a checkpoint that belongs to no run."""
    flags.model.choice("backbone", None, ["vgg16", "conv4"], "Network of a checkpoint outside of a run.",
                       "the run's, else vgg16")
    shared_flags.define_switches(flags.model, Switches, ("head",), "the run's, else tf")


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Evaluate; return the exit status."""
    flags = define_flags().parse(arguments)
    folder = omniglot.find(flags.data_path, ROOT)
    checkpoint = trained.choose(flags, ROOT, "evaluate")
    runs = one_shot_runs.load(shared_flags.find_path("one_shot", flags.one_shot, ROOT)) if flags.one_shot else []
    data = omniglot.load(folder, shared_flags.from_identity(Switches, checkpoint.run_identity()).exif_orientation)
    device = selection.choose(flags.device, os.environ)

    from common.keras import session
    from siamese_omniglot import evaluation, plots, restore

    session.start(device, flags.device, "allow_fp32_to_fp16", flags.json)
    scorer = evaluation.Scorer(restore.network(checkpoint, flags))
    split = "all" if flags.part == "all" else restore.setting(checkpoint, flags, "split")
    indices = np.arange(len(data.labels)) if split == "all" else omniglot.split(data, split).validation
    result: dict[str, Any] = dict(checkpoint=checkpoint.prefix, data=folder, split=split, drawings=len(indices))
    logits, labels, result["pairs"] = _pairs(scorer, data, indices, flags, restore.setting(
        checkpoint, flags, "head"), stop)
    features = scorer.features(lambda rows: data.store.take(indices[rows]), len(indices), stop.check)
    result["few_shot"] = _few_shot(scorer, features, data.labels[indices], flags, stop)
    if flags.projector:
        names = [data.names[index].split("/") for index in indices]
        projector.write(checkpoint, features, dict(zip(("alphabet", "character", "image"), zip(*names))),
                        lambda index: data.store.take(indices[[index]])[0])
    if runs:
        result["official_one_shot"] = _official(scorer, runs, stop)
    plots.draw_evaluation(checkpoint, logits, labels, result)
    checkpoint.report("evaluation.json", result, lines(result), flags.json)
    return 0


def _pairs(scorer: Scorer, data: omniglot.Drawings, indices: np.ndarray, flags: FlagValues, head: str,
           stop: program.StopRequest) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    from siamese_omniglot import evaluation

    advice = "give more data" if flags.part == "all" else "use --part=all or another --split"
    sampler = omniglot.PairSampler(data, indices, flags.seed, use_all_characters=True, advice=advice)
    drawn = sampler.draw(flags.num_pairs // 2, omniglot.VALIDATION, 0, "sample")
    logits = evaluation.pair_logits(scorer, data.store, drawn, stop.check)
    return logits, drawn.labels, evaluation.pair_result(logits, drawn.labels, head)


def _few_shot(scorer: Scorer, features: np.ndarray, labels: np.ndarray, flags: FlagValues, stop: program.StopRequest
              ) -> list[dict[str, Any]]:
    """Return the accuracies of the tasks, None where too few characters have enough drawings."""
    rows = []
    for n_way, k_shot in TASKS:
        row: dict[str, Any] = dict(n_way=n_way, k_shot=k_shot, accuracy=None, half_width=None, episodes=0,
                                   characters=len(one_shot.classes_for(labels, k_shot)))
        if row["characters"] >= n_way:
            accuracies = []
            for number in console.progress(range(flags.episodes), "episodes", "episode"):
                stop.check()
                random = np.random.RandomState([flags.seed, omniglot.EPISODES, n_way, k_shot, number])
                episode = one_shot.draw_episode(labels, n_way, k_shot, random)
                queries, examples = np.broadcast_arrays(episode.query[:, None, None], episode.support[None])
                logits = scorer.logits(features, queries.reshape(-1), examples.reshape(-1)).reshape(queries.shape)
                accuracies.append(one_shot.accuracy(logits, np.arange(n_way)))
            mean = one_shot.estimate(np.array(accuracies))
            row.update(accuracy=mean.mean, half_width=mean.half_width, episodes=mean.num)
        rows.append(row)
    return rows


def _official(scorer: Scorer, runs: Sequence[one_shot_runs.OneShotRun], stop: program.StopRequest) -> dict[str, Any]:
    """Return the error rates of Omniglot's one-shot runs, by name, and their mean."""
    rates = {}
    for run in runs:
        drawings = np.concatenate([run.queries, run.classes])
        features = scorer.features(drawings.__getitem__, len(drawings), stop.check)
        num_queries, num_classes = len(run.queries), len(run.classes)
        first, second = np.repeat(np.arange(num_queries), num_classes), np.tile(np.arange(num_classes), num_queries)
        logits = scorer.logits(features, first, num_queries + second).reshape(num_queries, num_classes, 1)
        rates[run.name] = 1.0 - one_shot.accuracy(logits, run.answers)
    mean = one_shot.estimate(np.array(list(rates.values())))
    return dict(error_rate=mean.mean, half_width=mean.half_width, runs=rates)


def lines(result: dict[str, Any]) -> list[str]:
    """Return the lines that are printed for a result."""
    pairs = result["pairs"]
    text = [f"Pairs ({result['split']}): accuracy {pairs['accuracy']:.4f} +- {pairs['accuracy_error']:.4f} "
            f"({pairs['num_pairs']} pairs), loss {pairs['loss']:.4f}, EER {pairs['eer']:.4f}, AUC {pairs['auc']:.4f}"]
    advice = "" if result["split"] == "all" else "; --part=all draws from all characters"
    for row in result["few_shot"]:
        name = f"{row['n_way']}-way {row['k_shot']}-shot"
        if row["accuracy"] is None:
            text.append(f"{name}: n/a, {row['characters']} characters have enough drawings{advice}")
        else:
            text.append(f"{name}: accuracy {row['accuracy']:.4f} +- {row['half_width']:.4f} (95 %, {row['episodes']} "
                        "episodes)")
    official = result.get("official_one_shot")
    if official:
        text += [f"{name}: error rate {rate:.2f}" for name, rate in official["runs"].items()]
        text.append(f"Official one-shot: error rate {official['error_rate']:.4f} +- {official['half_width']:.4f} (95 "
                    f"%, {len(official['runs'])} runs)")
    return text


if __name__ == "__main__":
    sys.exit(main())
