"""Write the configuration of a tracker with both branches, without training.

    python3 sa_siam_tf1/experiments/gen-sa-siam-cfg.py --output_path=FOLDER

Writes model_config.json, train_config.json and track_config.json to FOLDER/SA-Siam/. Edit them and pass that
folder as --config. Training with it also needs --branch and --epochs, because its epoch is 0.
"""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)

from common.cli import program
from common.cli.parser import FlagSet
from sa_siam_tf1.configuration import FILES, ROOT, ModelConfig, TrackConfig, TrainConfig, save


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Write; return the exit status."""
    flag_set = FlagSet(__doc__ or "")
    flag_set.data.string("output_path", None, "Folder in which SA-Siam/ is written.",
                         "test/output in the folder of the model")
    flag_set.alias("output_path", "train_url")
    flags = flag_set.parse(arguments)
    parent = os.path.expanduser(flags.output_path) if flags.output_path else os.path.join(ROOT, "test", "output")
    target = os.path.join(os.path.abspath(parent), "SA-Siam")
    os.makedirs(target, exist_ok=True)
    save(target, ModelConfig(branch="both"), TrainConfig(epoch=0), TrackConfig())
    print(f"Written: {', '.join(sorted(FILES.values()))} in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
