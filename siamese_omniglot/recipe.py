"""What the recipes switch. No TensorFlow."""
from __future__ import annotations

import dataclasses
from typing import Any, Mapping


@dataclasses.dataclass(frozen=True)
class Switches:
    """What the recipes differ in; the fields are flags of the same names.

    Attributes:
        head: "tf" or "torch", see `nets.siamese` and `nets.losses`.
        split: "image", "character" or "alphabet", see `data.pairs.split`.
        use_all_characters: draw pairs from the last character too.
        augment: one of `data.augmentation.KINDS`.
    """

    head: str = "tf"
    split: str = "image"
    use_all_characters: bool = False
    augment: str = "imagenet"


RECIPES = {"reference": Switches(), "corrected": Switches("tf", "alphabet", True, "affine")}


def resolve(recipe: str, given: Mapping[str, Any]) -> Switches:
    """Return a recipe's switches, with those that were given instead of its own.

    Args:
        recipe: "reference" or "corrected".
        given: a value for every switch, None for the recipe's.
    """
    return dataclasses.replace(RECIPES[recipe], **{name: value for name, value in given.items() if value is not None})
