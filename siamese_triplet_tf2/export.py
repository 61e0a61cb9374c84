"""Export the triplet network as SavedModel, TFLite and ONNX models, which do not need this repository.

    python3 siamese_triplet_tf2/export.py [--checkpoint=FILE|RUN_DIR]

Writes saved_model/, embedding.tflite and with --onnx embedding.onnx to <run directory>/export/, and compares their
outputs with those of the live network. Input: `images`, float32 [batch, 200, 200, 3], RGB in [0, 1]; preprocessing is
part of the model. Output: `embedding`, float32 [batch, 256].
"""
from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import exporting, trained
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection

ROOT = os.path.dirname(os.path.abspath(__file__))


def define_flags() -> FlagSet:
    """Return the flags of the export."""
    flags = FlagSet(__doc__ or "")
    trained.define_flags(flags, with_device=False)
    exporting.define_formats(flags)
    return flags


@exporting.entry(ROOT, define_flags)
def main(flags: FlagValues, checkpoint: trained.Checkpoint, device: selection.Device) -> dict[str, Any]:
    """Export; return what is written."""
    from common.keras import export, session
    from siamese_triplet_tf2 import features, restore

    session.start(device, "cpu", "", flags.json)
    network = restore.TrainedEmbedding(checkpoint)

    def embed(images: export.Tensor) -> dict[str, export.Tensor]:
        return {"embedding": network.model.whole(features.preprocess(images, network.input_scale), training=False)}

    shapes = {"images": (features.SIDE, features.SIDE, 3)}
    target = exporting.Target(checkpoint.output_folder, "embedding", flags.onnx)
    return export.export(embed, shapes, network.model.whole, target)


if __name__ == "__main__":
    sys.exit(main())
