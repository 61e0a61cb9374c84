"""Export the Siamese network as SavedModel, TFLite and ONNX models, which do not need this repository.

    python3 siamese_omniglot/export.py [--checkpoint=FILE|RUN_DIR]

Writes saved_model/, siamese.tflite and with --onnx siamese.onnx to <run directory>/export/, and compares their outputs
with those of the live network. Inputs: `first` and `second`, float32 [num, 105, 105] in [0, 1], black on white.
Outputs: `similarity`, [num], the probability that both show the same character, and `logit`, [num].
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
from siamese_omniglot.evaluate import define_network

ROOT = os.path.dirname(os.path.abspath(__file__))


def define_flags() -> FlagSet:
    """Return the flags of the export."""
    flags = FlagSet(__doc__ or "")
    trained.define_flags(flags, with_device=False)
    exporting.define_formats(flags)
    define_network(flags)
    return flags


@exporting.entry(ROOT, define_flags)
def main(flags: FlagValues, checkpoint: trained.Checkpoint, device: selection.Device) -> dict[str, Any]:
    """Export; return the result."""
    from common.keras import export, session
    from common.keras.session import tf
    from siamese_omniglot import restore
    from siamese_omniglot.data.omniglot import SIDE

    session.start(device, "cpu", "", flags.json)
    network = restore.network(checkpoint, flags)

    def compare(first: export.Tensor, second: export.Tensor) -> dict[str, export.Tensor]:
        logit = network.logits(*(tf.repeat(images[..., None], network.channels, axis=-1) for images in (first, second)))
        return dict(similarity=tf.sigmoid(logit), logit=logit)

    shapes = dict.fromkeys(("first", "second"), (SIDE, SIDE))
    target = exporting.Target(checkpoint.output_folder, "siamese", flags.onnx)
    return export.export(compare, shapes, network.chain, target)


if __name__ == "__main__":
    sys.exit(main())
