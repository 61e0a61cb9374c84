"""The switches in which the recipes differ."""
from __future__ import annotations

import dataclasses

from common.cli.shared_flags import switch


@dataclasses.dataclass(frozen=True)
class Switches:
    """Switches of the recipes; every field is also a flag.

    See `nets.siamese` about the heads, `data.omniglot.split` and `data.augmentation`.
    """

    head: str = switch("tf", "Form of the head and the loss.", ("tf", "torch", "cosine"))
    split: str = switch("image", "Unit of the split into training and validation.", ("image", "character", "alphabet"))
    use_all_characters: bool = switch(False, "Draw pairs from the last character too.")
    augment: str = switch("imagenet", "Augmentation of the training drawings.", ("imagenet", "affine", "none"))
    exif_orientation: bool = switch(False, "Turn drawings as their EXIF orientation says.")


RECIPES = {"reference": Switches(), "corrected": Switches("tf", "alphabet", True, "affine", True)}
TORCH_WEIGHT_DECAY = 5e-4  # default of --weight_decay with the torch head
