"""The flags that say which weights track and how."""
from __future__ import annotations

from common.checkpoints import trained
from common.cli import shared_flags
from common.cli.parser import FlagSet
from sa_siam_tf1.configuration import ModelConfig


def define(flags: FlagSet) -> None:
    """The flags that say which weights track and how."""
    trained.define_flags(flags)
    flags.model.string("semantic_checkpoint", None, "Checkpoint file or run directory of the semantic branch, to track "
                       "with both branches; --checkpoint is then the appearance branch's.")
    flags.model.number("c_appearance", None, "Weight of the appearance branch in the response of both, 0 to 1.",
                       unset=str(ModelConfig().c_appearance))
    flags.model.string("config", None, "Folder with model_config.json and track_config.json.",
                       "that of the run, else the built-in values")


def define_device(flags: FlagSet) -> None:
    """The flags that say where and in what to compute."""
    shared_flags.define_device(flags)
    flags.accelerator.choice("compute_dtype", "float32", ["float32", "bfloat16"], "Data type of the convolutions; "
                             "bfloat16 is faster on CPUs that support it.")
