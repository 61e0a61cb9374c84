"""Short runs of every model as processes, for tests that do to them what users' machines do."""
from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

from tests.conftest import ROOT


class Model(NamedTuple):
    """A model with flags for a run of seconds."""

    name: str
    train: str  # its program
    data_format: str
    flags: tuple  # of training
    evaluate: tuple  # programs with flags that are run after it; {data} stands for the data folder


MODELS = (
    Model("circleloss_tf1", "train_acc.py", "faces", (
        "--batch_size=4", "--epoch_size=3", "--sample_with_replacement", "--model_def=models.resnet10",
        "--image_size=32", "--extra_options"), (("evaluate.py", "--data_path={data}"), ("export.py",))),
    Model("gitloss_tf1", "gitloss.py", "mnist", ("--batch_size=16", "--update_centers=2"),
          (("evaluate.py", "--data_path={data}"), ("export.py",))),
    Model("sa_siam_tf1", "train_siamese_model.py", "tracking", ("--batch_size=2", "--optimizer=MOMENTUM"),
          (("inference/track.py", "--sequence={data}/OTB/Drawn1", "--annotate=none"),)),
    Model("siamese_triplet_tf2", "siamese_network.py", "look_alikes", ("--backbone=tiny", "--batch_size=4"),
          (("evaluate.py", "--data_path={data}"), ("export.py",))),
    Model("siamese_omniglot", "run_scripts/run_siamese_train.py", "omniglot", ("--backbone=conv4", "--batch_size=4"),
          (("evaluate.py", "--data_path={data}", "--num_pairs=8", "--episodes=2"), ("export.py",))),
)


def run(model: Model, program: str, *flags: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a program of a model to its end; stdout and stderr are decoded and together."""
    command = [sys.executable, os.path.join(ROOT, model.name, program), *flags]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", env=dict(os.environ, **environment), check=False, timeout=900)


def make_data(model: Model, folder: str) -> str:
    """Write the model's tiny data; return the folder."""
    subprocess.run([sys.executable, "-m", "common.tiny_data", model.data_format, folder], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)
    return folder
