"""The switches in which the recipes differ."""
from __future__ import annotations

import dataclasses

from common.cli.shared_flags import switch


@dataclasses.dataclass(frozen=True)
class Switches:
    """Switches of the recipes; every field is also a flag. See `features.preprocess` and `pairs.Sampler`."""

    input_scale: str = switch("unit", "Images in [0, 1] or in [0, 255] before the mean is subtracted.",
                              ("unit", "255"))
    accurate_jpeg: bool = switch(False, "Decode JPEG with the accurate DCT.")
    negatives: str = switch("listed", "Negatives: from the original's list, or any image except the anchor and its "
                            "positive.", ("listed", "others"))
    exif_orientation: bool = switch(False, "Turn images as their EXIF orientation says.")


RECIPES = {"reference": Switches(), "corrected": Switches("255", True, "others", True)}
