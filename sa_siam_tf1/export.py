"""Export the tracker as frozen graphs, SavedModels and ONNX models, which do not need this repository.

    python3 sa_siam_tf1/export.py [--checkpoint=FILE|RUN_DIR] [--semantic_checkpoint=FILE|RUN_DIR]

Writes template.pb, search.pb, a saved_model/ of each and with --onnx an ONNX model of each to
<run directory>/export/template/ and search/, and compares their outputs with those of the live network. template takes
`images`, float32 [num, 255, 255, 3], RGB, 0 to 255, the search image of the first frame, and returns maps `template_0`,
`template_1` ... search takes `images`, the search images of a frame, one per scale, and these maps for each, and
returns `response`, [num, 17, 17], and `upsampled`, [num, 272, 272].
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
from sa_siam_tf1 import track_flags
from sa_siam_tf1.configuration import ROOT

# TensorFlow's bicubic interpolation rounds positions to 1/1024 of a pixel, ONNX Runtime's does not
ONNX_TOLERANCES = dict(upsampled=3e-3)


def define_flags() -> FlagSet:
    """Return the flags of the export."""
    flags = FlagSet(__doc__ or "")
    track_flags.define(flags, with_device=False)
    exporting.define_formats(flags)
    return flags


@exporting.entry(ROOT, define_flags)
def main(flags: FlagValues, checkpoint: trained.Checkpoint, device: selection.Device) -> dict[str, Any]:
    """Export; return what is written."""
    from common.graph import export
    from common.graph.session import inference_session
    from sa_siam_tf1 import restore
    from sa_siam_tf1.inference import inference_wrapper

    result: dict[str, Any] = {}
    for part, build in (("template", inference_wrapper.export_template), ("search", inference_wrapper.export_search)):
        with inference_session(device, "cpu", "", flags.json or part == "search") as session:
            weights = restore.tracker_weights(flags, checkpoint)
            inputs, outputs = build(weights.model, weights.track)
            restore.variables(session, weights)
            target = exporting.Target(os.path.join(checkpoint.output_folder, part), part, flags.onnx, ONNX_TOLERANCES)
            result[part] = export.export(session, inputs, outputs, target, dict(images=255.0))
    return dict(result, checkpoints=weights.prefixes)


if __name__ == "__main__":
    sys.exit(main())
