"""What the recipes differ in."""
from __future__ import annotations

import dataclasses

from common.cli.recipe import switch


@dataclasses.dataclass(frozen=True)
class Switches:
    """Switches of the recipes; every field is also a flag and a field of `TrainConfig`.

    Attributes:
        pair_order: "forward": the exemplar is the earlier frame of a pair; "symmetric": either frame.
    """

    pair_order: str = switch("forward", "The exemplar is the earlier frame of a pair, or either one.",
                             ("forward", "symmetric"))


RECIPES = {"reference": Switches(), "corrected": Switches("symmetric")}
