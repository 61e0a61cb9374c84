"""Export the triplet network: a SavedModel and a TFLite model that need nothing of this repository.

    python3 siamese_triplet_tf2/export.py [--checkpoint=FILE|RUN_DIR]

Writes saved_model/ and embedding.tflite to <run directory>/export/. Input `images`, float32 [batch, 200, 200, 3], RGB
in [0, 1]; output `embedding`, float32 [batch, 256]. Preprocessing is inside. Both are run and compared with the live
network before the program says it is done.
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import atomic_files
from common.checkpoints import trained
from common.cli import program
from common.cli.parser import FlagSet
from common.devices import selection

ROOT = os.path.dirname(os.path.abspath(__file__))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Export; return the exit status."""
    flag_set = FlagSet(__doc__ or "")
    trained.define_flags(flag_set)
    flags = flag_set.parse(arguments)
    weights_at = trained.find(flags, ROOT, "export", dict(os.environ))
    device = selection.choose("cpu", os.environ)  # an exported graph holds no device and no adapter

    from common.keras import export, session
    from siamese_triplet_tf2 import decoding, restore

    session.start(device, "cpu", "", flags.json)
    network = restore.TrainedEmbedding(weights_at)

    def embed(images: export.Tensor) -> dict[str, export.Tensor]:
        return {"embedding": network.model.whole(decoding.preprocess(images, network.input_scale), training=False)}

    shapes = {"images": (decoding.SIDE, decoding.SIDE, 3)}
    result = export.export(embed, shapes, network.model.whole, weights_at.folder, "embedding")
    result["checkpoint"] = weights_at.prefix
    if flags.json:
        print(atomic_files.to_json(result))
    else:
        print(f"Written and checked against the live network (largest difference {result['max_difference']:.1e} of the "
              f"largest output):\n  {result['saved_model']}\n  {result['tflite']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
