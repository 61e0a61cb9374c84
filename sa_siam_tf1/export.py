"""Export the tracker: a frozen graph and a SavedModel that need nothing of this repository.

    python3 sa_siam_tf1/export.py [--checkpoint=FILE|RUN_DIR] [--semantic_checkpoint=FILE|RUN_DIR]

Writes to <run directory>/export/template/ and search/, template.pb and search.pb with a saved_model/ beside each.
template takes `images`, float32 [num, 255, 255, 3], RGB, 0 to 255, the search image of the first frame, and gives the
template's maps `template_0`, `template_1` ...; search takes `images`, the search images of a frame, one a scale, and
a template for each, and gives `response`, [num, 17, 17], and `upsampled`, [num, 272, 272]. All are run and compared
with the live graph.
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
    from sa_siam_tf1 import track_flags

    flag_set = FlagSet(__doc__ or "")
    track_flags.define(flag_set)
    flags = flag_set.parse(arguments)
    found = trained.find(flags, ROOT, "export", dict(os.environ))
    device = selection.choose("cpu", os.environ)  # an exported graph holds no device and no adapter

    from common.graph import export
    from common.graph.session import inference_session
    from sa_siam_tf1 import restore
    from sa_siam_tf1.inference import inference_wrapper

    result = {}
    for part, build in (("template", inference_wrapper.export_template), ("search", inference_wrapper.export_search)):
        with inference_session(device, "cpu", "", flags.json or part == "search") as session:
            of_tracker = restore.tracker_weights(flags, ROOT, found)
            inputs, outputs = build(of_tracker.model, of_tracker.track)
            restore.variables(session, of_tracker)
            result[part] = export.export(session, inputs, outputs, os.path.join(found.folder, part), part,
                                               dict(images=255.0))
    result["checkpoints"] = of_tracker.prefixes
    if flags.json:
        print(atomic_files.to_json(result))
        return 0
    for part in ("template", "search"):
        print(f"Written and checked against the live graph (largest difference {result[part]['max_difference']:.1e}):")
        print(f"  {result[part]['frozen_graph']}\n  {result[part]['saved_model']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
