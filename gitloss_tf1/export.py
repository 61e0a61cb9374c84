"""Export Git loss: a frozen graph and a SavedModel that need nothing of this repository.

    python3 gitloss_tf1/export.py [--checkpoint=FILE|RUN_DIR]

Writes git_loss.pb and saved_model/ to <run directory>/export/. Input `images`, float32 [num, 28, 28, 1] in [0, 1],
white digits on black; outputs `features` [num, 2], `logits` and `probabilities` [num, 10]. The mean image is inside.
Both are run and compared with the live graph before the program says it is done.
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import atomic_files
from common.checkpoints import trained
from common.cli import program, shared_flags
from common.cli.parser import FlagSet
from common.devices import selection

ROOT = os.path.dirname(os.path.abspath(__file__))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Export; return the exit status."""
    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_data(flag_set, "Training data, from which the mean image is computed for a checkpoint outside "
                             "of a run.", "none")
    trained.define_flags(flag_set)
    flags = flag_set.parse(arguments)
    weights_at = trained.find(flags, ROOT, "export", dict(os.environ))
    device = selection.choose("cpu", os.environ)  # an exported graph holds no device and no adapter

    from common.graph import export
    from common.graph.compat import tf
    from common.graph.session import inference_session
    from gitloss_tf1 import restore
    from gitloss_tf1.network import network

    mean_image = restore.mean_image(weights_at, flags.data_path)
    with inference_session(device, "cpu", "", flags.json) as session:
        images = tf.placeholder(tf.float32, [None, *mean_image.shape], "images")
        found = network(images - mean_image, seed=0)
        outputs = dict(features=found.features, logits=found.logits, probabilities=tf.nn.softmax(found.logits))
        outputs = {name: tf.identity(tensor, name) for name, tensor in outputs.items()}
        restore.variables(session, weights_at)
        result = export.export(session, dict(images=images), outputs, weights_at.folder, "git_loss")
    result["checkpoint"] = weights_at.prefix
    if flags.json:
        print(atomic_files.to_json(result))
    else:
        print(f"Written and checked against the live graph (largest difference {result['max_difference']:.1e}):")
        print(f"  {result['frozen_graph']}\n  {result['saved_model']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
