"""What the recipes differ in."""
from __future__ import annotations

import dataclasses
from typing import Any, Mapping

from common.cli import shared_flags
from common.cli.shared_flags import switch
from common.errors import FlagError


@dataclasses.dataclass(frozen=True)
class Switches:
    """Switches of the recipes; every field is also a flag. FlagError if two of them contradict each other."""

    center_term: str = switch("element", "Center term: mean over elements, or half the mean squared distance.",
                              ("element", "sample"))
    pair_term: str = switch("element", "Pair term: mean over all elements, or over pairs of different samples.",
                            ("element", "sample"))
    distance_centers: str = switch("dead", "Centers of the reported center_distance: a variable that stays 0, or the "
                                   "trained centers.", ("dead", "real"))
    dead_variables: bool = switch(True, "Keep the original's two unused variables in checkpoints.")
    eval_centers: str = switch("batch_means", "Centers of the distances in evaluation: the mean over batches of their "
                               "class means, or the mean over a class.", ("batch_means", "class_means"))
    inter_cls_dist: str = switch("cumulative", "Report inter_cls_dist as the mean over all evaluations so far, or of "
                                 "the current one.", ("cumulative", "current"))

    def __post_init__(self) -> None:
        if self.distance_centers == "dead" and not self.dead_variables:
            raise FlagError("--distance_centers=dead needs --dead_variables=true")


RECIPES = {
    "reference": Switches(),
    "corrected": Switches("sample", "sample", "real", dead_variables=False, eval_centers="class_means",
                          inter_cls_dist="current"),
}


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """What the git loss and the class statistics depend on besides features and labels."""

    batch_size: int = 128  # of training; class statistics of the form "batch_means" use it too
    lambda_c: float = 1.0  # weight of the center term
    lambda_g: float = 1.0  # weight of the pair term; with 0 the loss is center loss (Wen et al. 2016)
    switches: Switches = RECIPES["reference"]

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> LossSettings:
        """Return a run's settings, or the defaults where its identity, empty outside of a run, lacks them."""
        switches = shared_flags.from_identity(Switches, identity)
        return dataclasses.replace(shared_flags.from_identity(cls, identity), switches=switches)
