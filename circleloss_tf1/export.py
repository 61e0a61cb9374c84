"""Export Circle loss: a frozen graph and a SavedModel that need nothing of this repository. Known as ckpt2pb.py.

    python3 circleloss_tf1/export.py [--checkpoint=FILE|RUN_DIR] [--batch_norm=batch|moving]

Writes circle_loss.pb and saved_model/ to <run directory>/export/. Input `images`, float32 [num, 112, 112, 3], (pixel -
127.5) / 128; output `embeddings` [num, 512], L2-normalised. With --batch_norm=batch, the reference recipe's, an
embedding depends on the other images of its batch. Both are run and compared with the live graph.
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
    from circleloss_tf1 import usage_flags

    flag_set = FlagSet(__doc__ or "")
    usage_flags.define_flags(flag_set, with_device=False)
    flags = flag_set.parse(arguments)
    weights_at = trained.find(flags, ROOT, "export", dict(os.environ))
    usage_flags.take_from_run(flags, weights_at.arguments())
    device = selection.choose("cpu", os.environ)  # an exported graph holds no device and no adapter

    from circleloss_tf1 import model, restore
    from common.graph import export
    from common.graph.compat import tf
    from common.graph.session import inference_session

    network = restore.network_settings(weights_at, flags)
    side = network.extras.image_size
    with inference_session(device, "cpu", "", flags.json) as session:
        images = tf.placeholder(tf.float32, [None, side, side, 3], "images")
        embeddings = model.embed(images, network, restore.averaged if flags.ema_evaluation else None)
        outputs = dict(embeddings=tf.identity(embeddings, "embeddings"))
        restore.variables(session, weights_at, network)
        result = export.export(session, dict(images=images), outputs, weights_at.folder, "circle_loss")
    result.update(checkpoint=weights_at.prefix, model_def=network.model_def, batch_norm=network.switches.batch_norm)
    if flags.json:
        print(atomic_files.to_json(result))
    else:
        print(f"Written and checked against the live graph (largest difference {result['max_difference']:.1e}), batch "
              f"normalisation with {result['batch_norm']} statistics:")
        print(f"  {result['frozen_graph']}\n  {result['saved_model']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
