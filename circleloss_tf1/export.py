"""Export Circle loss as a frozen graph, a SavedModel and an ONNX model, which do not need this repository.

Also known as ckpt2pb.py.

    python3 circleloss_tf1/export.py [--checkpoint=FILE|RUN_DIR] [--batch_norm=batch|moving]

Writes circle_loss.pb, saved_model/ and with --onnx circle_loss.onnx to <run directory>/export/, and compares their
outputs with those of the live network. Input: `images`, float32 [num, 112, 112, 3], (pixel - 127.5) / 128. Output:
`embeddings`, [num, 512], L2-normalized. With --batch_norm=batch, as in the reference recipe, an embedding depends on
the other images of its batch.
"""
from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from circleloss_tf1 import usage_flags
from circleloss_tf1.faces import ROOT
from common.checkpoints import exporting, trained
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection


def define_flags() -> FlagSet:
    """Return the flags of the export."""
    flags = FlagSet(__doc__ or "")
    usage_flags.define(flags, with_device=False)
    exporting.define_formats(flags)
    return flags


@exporting.entry(ROOT, define_flags)
def main(flags: FlagValues, checkpoint: trained.Checkpoint, device: selection.Device) -> dict[str, Any]:
    """Export; return what is written."""
    from circleloss_tf1 import model, restore
    from common.graph import export
    from common.graph.compat import tf
    from common.graph.session import inference_session

    usage_flags.take_from_run(flags, checkpoint)
    network = restore.network_settings(checkpoint, flags)
    batch_norm = network.switches.batch_norm
    with inference_session(device, "cpu", "", flags.json) as session:
        images = model.image_placeholder(None, network)
        embeddings = model.embed(images, network, restore.averaged if flags.ema_evaluation else None)
        outputs = dict(embeddings=tf.identity(embeddings, "embeddings"))
        restore.variables(session, checkpoint, network)
        target = exporting.Target(checkpoint.output_folder, "circle_loss", flags.onnx)
        result = export.export(session, dict(images=images), outputs, target)
    if not flags.json:
        print(f"Batch normalization uses {batch_norm} statistics.")
    return dict(result, model_def=network.model_def, batch_norm=batch_norm)


if __name__ == "__main__":
    sys.exit(main())
