"""The flags that say which weights track and how."""
from __future__ import annotations

from common.checkpoints import trained
from common.cli.parser import FlagSet
from sa_siam_tf1.configuration import ModelConfig


def define(flags: FlagSet, with_device: bool = True) -> None:
    """Define the flags that choose the weights of a tracker, and say in what they compute."""
    trained.define_flags(flags, with_device)
    flags.model.string("semantic_checkpoint", None, "Checkpoint file or run directory of the semantic branch, to track "
                       "with both branches; --checkpoint is then the appearance branch's.")
    flags.model.number("c_appearance", None, "Weight of the appearance branch in the response of both, 0 to 1.",
                       unset=str(ModelConfig().c_appearance))
    flags.model.string("config", None, "Folder with model_config.json and track_config.json.",
                       "that of the run, else the built-in values")
    if with_device:
        flags.accelerator.choice("compute_dtype", "float32", ["float32", "bfloat16"], "Data type of the convolutions; "
                                 "bfloat16 is faster on CPUs that support it.")
