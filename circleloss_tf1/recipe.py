"""What the recipes differ in, and the settings of the network and its input."""
from __future__ import annotations

import dataclasses
from typing import Any, Mapping

from common.cli import shared_flags
from common.cli.shared_flags import switch

IMAGE_SIZE = 112
MODEL_DEFS = ("models.resnet34", "models.resnet10")


@dataclasses.dataclass(frozen=True)
class Switches:
    """Switches of the recipes; every field is also a flag.

    The head "logits" scales rows of logits, with bias, to unit length. With batch_norm "batch" the statistics are those
    of the batch, outside training too. `extra_options` are `Extras`.
    """

    head: str = switch("logits", "Similarities of the loss: normalized logits, or cosines of embeddings and class "
                       "weights.", ("logits", "cosine"))
    batch_norm: str = switch("batch", "Statistics of batch normalization outside training.", ("batch", "moving"))
    jpeg_decoding: str = switch("fast", "DCT of the JPEG decoder: TensorFlow's fast one, or that of PIL and OpenCV.",
                                ("fast", "accurate"))
    extra_options: bool = switch(False, "Whether options that the original accepts and ignores have an effect: "
                                 "image_size, embedding_size, keep_probability, weight_decay, "
                                 "use_fixed_image_standardization, random_crop, random_flip and random_rotate.")
    exif_orientation: bool = switch(False, "Turn images as their EXIF orientation says.")


RECIPES = {"reference": Switches(), "corrected": Switches("cosine", "moving", "accurate", True, True)}


@dataclasses.dataclass(frozen=True)
class Extras:
    """Options that the original accepts and ignores; it always behaves as with these defaults."""

    image_size: int = IMAGE_SIZE  # side of the network's input in pixels
    embedding_size: int = 0  # 0 for the network's own; another number adds a dense layer
    keep_probability: float = 1.0  # of the dropout on the embedding in training
    weight_decay: float = 0.0  # weight of the L2 penalty, 1/2 sum w^2 over all kernels
    use_fixed_image_standardization: bool = True  # (x - 127.5) / 128; else every image gets mean 0 and deviation 1
    random_crop: bool = False  # out of a slightly larger image
    random_flip: bool = False
    random_rotate: bool = False


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """What the network and its input depend on outside of training; `background` is that of transparent pixels."""

    model_def: str
    switches: Switches
    extras: Extras
    background: str = "white"

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> NetworkSettings:
        """Return a run's settings; those of the reference recipe for an empty identity, outside of a run."""
        return cls(identity.get("model_def", MODEL_DEFS[0]), shared_flags.from_identity(Switches, identity),
                   shared_flags.from_identity(Extras, identity))
