"""The flags that say which weights track and how. No TensorFlow."""
from __future__ import annotations

from common.checkpoints import trained
from common.cli import shared_flags
from common.cli.parser import FlagSet
from sa_siam_tf1.configuration import ModelConfig


def define(flags: FlagSet) -> None:
    """The flags that say which weights track and how."""
    trained.define_flags(flags)
    flags.string("semantic_checkpoint", None, "checkpoint file or run directory of the semantic branch, to track with "
                 "both; --checkpoint is then the appearance branch's")
    flags.number("c_appearance", None, f"share of the appearance branch in the response of both, 0 to 1 "
                 f"({ModelConfig().c_appearance} when unset)")
    flags.string("config", None, "folder with model_config.json and track_config.json (default: those of the run "
                 "directory, else the defaults)")


def define_device(flags: FlagSet) -> None:
    """The flags that say where and in what to compute."""
    shared_flags.define_device(flags)
    flags.choice("compute_dtype", "float32", ["float32", "bfloat16"], "what the convolutions compute in; bfloat16 pays "
                 "on CPUs that have it")
