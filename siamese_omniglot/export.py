"""Export the Siamese network: a SavedModel and a TFLite model that need nothing of this repository.

    python3 siamese_omniglot/export.py [--checkpoint=FILE|RUN_DIR]

Writes saved_model/ and siamese.tflite to <run directory>/export/. Inputs `first` and `second`, float32 [num, 105, 105]
in [0, 1], black on white; outputs `similarity` [num], the probability that both show one character, and `logit` [num].
Both are run and compared with the live network before the program says it is done.
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
    from siamese_omniglot import evaluate

    flag_set = FlagSet(__doc__ or "")
    evaluate.define_network(flag_set)
    trained.define_flags(flag_set)
    flags = flag_set.parse(arguments)
    weights_at = trained.find(flags, ROOT, "export", dict(os.environ))
    device = selection.choose("cpu", os.environ)  # an exported network holds no device and no adapter

    import tensorflow as tf

    from common.keras import export, session
    from siamese_omniglot import restore
    from siamese_omniglot.data.omniglot import SIDE

    session.start(device, "cpu", "", flags.json)
    network = restore.network(weights_at, flags)

    def compare(first: tf.Tensor, second: tf.Tensor) -> dict[str, tf.Tensor]:
        logit = network.logits(*(tf.repeat(images[..., None], network.channels, axis=-1) for images in (first, second)))
        return dict(similarity=tf.sigmoid(logit), logit=logit)

    shapes = dict.fromkeys(("first", "second"), (SIDE, SIDE))
    result = export.export(compare, shapes, network.chain, weights_at.folder, "siamese")
    result["checkpoint"] = weights_at.prefix
    if flags.json:
        print(atomic_files.to_json(result))
    else:
        print(f"Written and checked against the live network (largest difference {result['max_difference']:.1e} of the "
              f"largest output):\n  {result['saved_model']}\n  {result['tflite']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
