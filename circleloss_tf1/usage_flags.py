"""The flags of evaluate, predict and export that say how trained weights are used."""
from __future__ import annotations

from typing import Any, Mapping

from circleloss_tf1.recipe import MODEL_DEFS, Switches
from common.checkpoints import trained
from common.cli import recipe, shared_flags
from common.cli.parser import FlagSet, FlagValues

_OF_RUN = ("lfw_batch_size", "lfw_nrof_folds", "lfw_distance_metric", "lfw_subtract_mean", "lfw_use_flipped_images",
           "ema_evaluation")


def define_flags(flags: FlagSet, with_device: bool = True) -> None:
    """Define them, with those that every program of the zoo has for trained weights."""
    trained.define_flags(flags)
    if with_device:
        shared_flags.define_device(flags)
    flags.model.choice("model_def", None, MODEL_DEFS, "Network of the checkpoint.", "the run's")
    recipe.define(flags.model, Switches, ("batch_norm", "jpeg_decoding") if with_device else ("batch_norm",),
                  "the run's")
    flags.model.boolean("ema_evaluation", False, "Use the moving averages of the weights.")


def take_from_run(flags: FlagValues, identity: Mapping[str, Any]) -> None:
    """Give flags that were not given the run's values."""
    for name in _OF_RUN:
        if name in flags and not flags[name].present and name in identity:
            flags[name].value = identity[name]
