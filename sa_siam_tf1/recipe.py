"""What the recipes differ in."""
from __future__ import annotations

import dataclasses

from common.cli.shared_flags import switch


@dataclasses.dataclass(frozen=True)
class Switches:
    """Switches of the recipes; every field is also a flag and a field of `TrainConfig`."""

    pair_order: str = switch("forward", "The exemplar is the earlier frame of a pair, or either one.",
                             ("forward", "symmetric"))
    exif_orientation: bool = switch(False, "Turn curated crops as their EXIF orientation says; boxes in raw frames "
                                    "count stored pixels.")


RECIPES = {"reference": Switches(), "corrected": Switches("symmetric", True)}
