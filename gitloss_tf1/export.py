"""Export Git loss as a frozen graph, a SavedModel and an ONNX model, which do not need this repository.

    python3 gitloss_tf1/export.py [--checkpoint=FILE|RUN_DIR]

Writes git_loss.pb, saved_model/ and with --onnx git_loss.onnx to <run directory>/export/, and compares their outputs
with those of the live network. Input: `images`, float32 [num, 28, 28, 1] in [0, 1], white digits on black; the mean
image is subtracted inside. Outputs: `features`, [num, 2], `logits` and `probabilities`, [num, 10].
"""
from __future__ import annotations

import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import exporting, trained
from common.cli import shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from gitloss_tf1 import mnist


def define_flags() -> FlagSet:
    """Return the flags of the export."""
    flags = FlagSet(__doc__ or "")
    define_data(flags)
    trained.define_flags(flags, with_device=False)
    exporting.define_formats(flags)
    return flags


def define_data(flags: FlagSet) -> None:
    """Define --data_path of programs that need it for the mean image alone."""
    shared_flags.define_data(flags, "Training data, from which the mean image is computed for a checkpoint outside of "
                             "a run.", "none")


@exporting.entry(mnist.ROOT, define_flags)
def main(flags: FlagValues, checkpoint: trained.Checkpoint, device: selection.Device) -> dict[str, Any]:
    """Export; return what is written."""
    from common.graph import checkpoints, export
    from common.graph.compat import tf
    from common.graph.session import inference_session
    from gitloss_tf1 import restore
    from gitloss_tf1.model import network

    mean_image = restore.mean_image(checkpoint, flags.data_path)
    with inference_session(device, "cpu", "", flags.json) as session:
        images = tf.placeholder(tf.float32, [None, *mean_image.shape], "images")
        tensors = network(images - mean_image, seed=0)
        outputs = dict(features=tensors.features, logits=tensors.logits, probabilities=tf.nn.softmax(tensors.logits))
        outputs = {name: tf.identity(tensor, name) for name, tensor in outputs.items()}
        checkpoints.restore_all(session, checkpoint.prefix, tf.global_variables())
        target = exporting.Target(checkpoint.output_folder, "git_loss", flags.onnx)
        return export.export(session, dict(images=images), outputs, target)


if __name__ == "__main__":
    sys.exit(main())
