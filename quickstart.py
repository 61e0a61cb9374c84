"""Train and evaluate every model on tiny synthetic data; print a table and write a page with pictures: make quickstart.

Exits with status 1 if a program fails, a loss does not fall or a metric is not above chance.
"""
from __future__ import annotations

import functools
import glob
import html
import json
import os
import statistics
import subprocess
import sys
from typing import Callable, NamedTuple

from common import zoo
from common.errors import ZooError
from common.run import metrics
from common.tiny_data import faces, look_alikes, mnist, omniglot, tracking

ROOT = os.path.dirname(os.path.abspath(__file__))
FOLDER = ".quickstart"
PAGE = os.path.join(FOLDER, "index.html")
LIMIT_SECONDS = 300  # for a program that hangs


class Model(NamedTuple):
    """A model of the quick start."""

    name: str  # its folder
    data_format: str
    flags: tuple[str, ...]  # of training
    length: tuple[str, ...]  # training flags for batch size and number of steps
    metric: tuple[str, str]  # its name, and its key in the rows of metrics.jsonl or in evaluation.json
    chance: float | str  # the metric of a model that has learned nothing, or its key in evaluation.json
    make_data: Callable[[str], None]  # writes more data than the default of the format
    programs: tuple[tuple[str, ...], ...] = (("evaluate.py", "--data_path={data}"),)  # to run afterwards, with flags


MODELS = (
    Model("circleloss_tf1", "faces", ("--model_def=models.resnet10", "--sample_with_replacement"),
          ("--batch_size=32", "--train_steps=90", "--epoch_size=30"), ("LFW accuracy", "lfw_accuracy"), 0.5,
          functools.partial(faces.make, num_people=40, num_images=8, num_folds=50)),
    Model("gitloss_tf1", "mnist", (), ("--batch_size=32", "--train_steps=400", "--update_centers=200"),
          ("validation accuracy", "valid_accuracy"), 0.1, mnist.make),
    Model("siamese_triplet_tf2", "look_alikes", ("--backbone=tiny", "--recipe=corrected"),
          ("--batch_size=16", "--epochs=10"), ("triplet accuracy", "triplet_accuracy"), 0.5,
          functools.partial(look_alikes.make, num_pairs=120, color_spread=40)),
    Model("sa_siam_tf1", "tracking", ("--optimizer=MOMENTUM",), ("--batch_size=2", "--train_steps=15"),
          ("tracking AUC", "SA-Siam"), "still box", tracking.make,
          (("evaluate.py", "--data_path={data}/OTB"),
           ("inference/track.py", "--sequence={data}/OTB/Drawn1", "--annotate=gif"))),
    Model("siamese_omniglot", "omniglot", ("--backbone=conv4", "--recipe=corrected", "--split=image",
                                           "--optimizer=adam"), ("--batch_size=16", "--epochs=8"),
          ("pair accuracy", "val_accuracy"), 0.5, omniglot.make),
)


class Result(NamedTuple):
    """What a model has learned."""

    model: Model
    run: str  # its run directory, relative to `ROOT`
    device: str  # its kind
    losses: tuple[float, float]  # mean of the first and of the last tenth of the steps
    metric: float  # in the best evaluation
    chance: float  # what it would be by chance
    images_per_second: float  # of training

    @classmethod
    def read(cls, model: Model, run: str) -> Result:
        """Read the files of a finished run."""
        rows = list(metrics.read_rows(os.path.join(ROOT, run)))
        with open(os.path.join(ROOT, run, "evaluate", "evaluation.json"), encoding="utf-8") as file:
            trackers = json.load(file).get("trackers", {})
        losses = [row["loss"] for row in rows if row["kind"] == "step"]
        tenth = max(1, len(losses) // 10)
        key, chance = model.metric[1], model.chance
        if isinstance(chance, str):
            metric, chance = (trackers[name]["overall"]["auc"] for name in (key, chance))
        else:
            metric = max(row[key] for row in rows if row["kind"] == "eval" and key in row)
        return cls(model, run, rows[-1]["device"], (statistics.mean(losses[:tenth]), statistics.mean(losses[-tenth:])),
                   metric, chance, rows[-1]["images_per_second"])

    @property
    def row(self) -> tuple[str, ...]:
        """Its row of the table."""
        return (self.model.name, "{:.3g} -> {:.3g}".format(*self.losses),
                f"{self.model.metric[0]} {self.metric:.2f} ({self.chance:.2f})",
                f"{self.images_per_second:.0f}")

    def require_success(self) -> None:
        """Raise ZooError unless the loss has fallen and the metric is above chance."""
        if self.losses[1] >= self.losses[0]:
            raise ZooError("the loss does not fall")
        if self.metric <= self.chance:
            raise ZooError(f"{self.model.metric[0]} is not above chance")

    def pictures(self) -> list[str]:
        """Return the pictures of the run, relative to `ROOT`."""
        found = [os.path.join(self.run, "curves.png")]
        for pattern in ("evaluate/*.png", "predict/*.png", "predict/*/*.gif"):
            found += sorted(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, self.run, pattern)))
        return found


HEAD = ("model", "loss", "metric (by chance)", "images/s")


def main() -> int:
    """Train and evaluate all models, print the table; return 1 if something went wrong."""
    results, failures = [], {}
    for model in MODELS:
        try:
            result = _run(model)
            results.append(result)
            result.require_success()
        except ZooError as error:
            failures[model.name] = str(error)
    _write_page(results, failures)
    print(f"\n== Quick start on {', '.join(sorted({result.device for result in results})) or 'no device'}")
    print(*zoo.aligned([HEAD, *(result.row for result in results)]), "\nPictures:",
          *(f"  {path}" for result in results for path in result.pictures()), sep="\n")
    for name, reason in failures.items():
        print(f"FAILED: {name}: {reason}")
    print(f"\nOpen {PAGE} in a browser: all models on one page.")
    return 1 if failures else 0


def _run(model: Model) -> Result:
    """Make data, train with the model's own script and run its programs; ZooError if one fails."""
    data, output = (os.path.join(FOLDER, part, model.name) for part in ("data", "runs"))
    print(f"\n== {model.name}: tiny data in {data}", flush=True)
    model.make_data(os.path.join(ROOT, data))
    _start(["bash", os.path.join(model.name, "test", "train_full_1p.sh"), f"--data_path={data}",
            f"--output_path={output}", "--resume=never", *model.flags, *model.length])
    for name, *flags in model.programs:
        _start([sys.executable, os.path.join(model.name, name), *(flag.format(data=data) for flag in flags),
                f"--output_path={output}"])
    return Result.read(model, os.path.join(output, "0"))


def _start(command: list[str]) -> None:
    """Run a program; raises ZooError if it fails or hangs."""
    environment = {key: value for key, value in os.environ.items() if key not in ("ASCEND_DEVICE_ID", "RANK_SIZE")}
    with subprocess.Popen(command, cwd=ROOT, env=dict(environment, PYTHON=sys.executable)) as process:
        try:
            status = process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise ZooError(f"{command[1]} took more than {LIMIT_SECONDS} s") from None
    if status:
        raise ZooError(f"{command[1]} ended with status {status}")


def _write_page(results: list[Result], failures: dict[str, str]) -> None:
    """Write a page with the table, the pictures and links to the reports of the runs."""
    cells = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in result.row)}</tr>" for result in results)
    cards = {model.name: model.card for model in zoo.models()}
    parts = [f"<table><tr>{''.join(f'<th>{html.escape(name)}</th>' for name in HEAD)}</tr>{cells}</table>"]
    parts += [f"<p class='failed'>{html.escape(f'{name}: {reason}')}</p>" for name, reason in failures.items()]
    for result in results:
        report = os.path.relpath(os.path.join(result.run, "report.html"), FOLDER)
        card = cards[result.model.name]
        parts.append(f"<h2>{card['title']}</h2><p>{result.model.name} {card['use']}. "
                     f"<a href='{report}'>Report of the run</a></p>")
        for path in (os.path.relpath(path, FOLDER) for path in result.pictures()):
            name = html.escape(os.path.relpath(path, os.path.relpath(result.run, FOLDER)))
            parts.append(f"<figure><figcaption>{name}</figcaption><img src='{path}' alt='{name}'></figure>")
    os.makedirs(os.path.join(ROOT, FOLDER), exist_ok=True)
    with open(os.path.join(ROOT, PAGE), "w", encoding="utf-8") as file:
        file.write("<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>Quick start</title><style>"
                   "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
                   "td,th{text-align:left;padding:.15rem .8rem .15rem 0}img{min-width:20rem;max-width:100%}"
                   ".failed{color:#9a4a00}</style><h1>Quick start</h1><p>Every model of the zoo, trained for seconds "
                   f"on small generated data.</p>{''.join(parts)}</html>\n")


if __name__ == "__main__":
    sys.exit(main())
