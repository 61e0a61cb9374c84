"""Train every model on tiny synthetic data and print one table: make quickstart."""
from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
FOLDER = ".quickstart"
LIMIT_SECONDS = 45


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the quick start.

    Attributes:
        name: its folder.
        data_format: format of its data.
        flags: training flags for a short run.
        metric: name of its metric.
        program: program to run afterwards, with flags; {data} and {output} stand for the folders.
    """

    name: str
    data_format: str
    flags: tuple[str, ...]
    metric: str
    program: tuple[str, ...] = ()


MODELS = (
    Model("circleloss_tf1", "faces", ("--batch_size=16", "--train_steps=60", "--epoch_size=30",
                                      "--sample_with_replacement", "--model_def=models.resnet10"), "LFW accuracy"),
    Model("gitloss_tf1", "mnist", ("--batch_size=32", "--train_steps=150", "--update_centers=75"),
          "validation accuracy"),
    Model("siamese_triplet_tf2", "look_alikes", ("--backbone=tiny", "--batch_size=8", "--epochs=20",
                                                 "--recipe=corrected"), "triplet accuracy"),
    Model("sa_siam_tf1", "tracking", ("--batch_size=2", "--train_steps=15", "--optimizer=MOMENTUM"),
          "mean total loss", ("inference/track.py", "--sequence={data}/OTB/Drawn1", "--output_path={output}",
                              "--annotate=gif")),
    Model("siamese_omniglot", "omniglot", ("--backbone=conv4", "--recipe=corrected", "--split=image", "--epochs=8",
                                           "--batch_size=16", "--optimizer=adam"), "pair accuracy"),
)


def main() -> int:
    """Train all models and print the table; return 1 if a model failed."""
    rows, failed = [("model", "device", "loss first -> last", "metric", "images/s", "results")], []
    for model in MODELS:
        data, output = (os.path.join(FOLDER, part, model.name) for part in ("data", "runs"))
        print(f"== {model.name}: tiny data in {data}, training for at most {LIMIT_SECONDS} s", flush=True)
        subprocess.run([sys.executable, "-m", "common.tiny_data", model.data_format, data], cwd=ROOT, check=True)
        error = _train(model, data, output) or _run_program(model, data, output)
        if error:
            failed.append(model.name)
            rows.append((model.name, "-", "-", f"FAILED: {error}", "-", output))
        else:
            rows.append(_row(model, output))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print("\n== Quick start")
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 1 if failed else 0


def _train(model: Model, data: str, output: str) -> str | None:
    """Train with the model's own script; return what went wrong, if anything."""
    script = os.path.join(model.name, "test", "train_full_1p.sh")
    environment = {key: value for key, value in os.environ.items() if key not in ("ASCEND_DEVICE_ID", "RANK_SIZE")}
    process = subprocess.Popen(["bash", script, f"--data_path={data}", f"--output_path={output}", "--resume=never",
                                *model.flags], cwd=ROOT, env=dict(environment, PYTHON=sys.executable))
    try:
        status = process.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return f"took more than {LIMIT_SECONDS} s"
    return f"exit status {status}" if status else None


def _run_program(model: Model, data: str, output: str) -> str | None:
    """Run the model's program, if it has one; return what went wrong, if anything."""
    if not model.program:
        return None
    program, *flags = (word.format(data=data, output=output) for word in model.program)
    command = [sys.executable, os.path.join(model.name, program), *flags]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    return f"{program} ended with status {status}" if status else None


def _row(model: Model, output: str) -> tuple[str, ...]:
    with open(os.path.join(ROOT, output, "0", "metrics.jsonl"), encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    losses = [row["loss"] for row in rows if row["kind"] == "step"]
    final = rows[-1]
    return (model.name, final["device"], f"{losses[0]:.4f} -> {losses[-1]:.4f}",
            f"{model.metric} {final['accuracy']:.4f}", f"{final['images_per_second']:.0f}", os.path.join(output, "0"))


if __name__ == "__main__":
    sys.exit(main())
