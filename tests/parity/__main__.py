"""Compare a model with recorded numbers: python3 -m tests.parity MODEL FIXTURE [--device=cpu|gpu].

Prints one JSON line: for each group its largest error over its tolerance's scale, the tolerance, and whether all hold.
Exit status 0 within tolerance, 1 beyond it or when the fixture is not one of the model, 2 for a wrong command.
"""
from __future__ import annotations

import importlib
import json
import os
import sys
import zipfile
import zlib

MODELS = ("circleloss", "gitloss", "sa_siam", "siamese_omniglot", "siamese_triplet")


def main(arguments: list[str]) -> int:
    """Run one comparison; return the exit status."""
    if len(arguments) != 2 or arguments[0] not in MODELS:
        print(f"usage: python3 -m tests.parity {'|'.join(MODELS)} FIXTURE [--device=cpu|gpu]", file=sys.stderr)
        return 2
    from common.errors import ZooError
    from tests.parity.comparison import FixtureError

    try:
        comparison = importlib.import_module(f"tests.parity.{arguments[0]}").compare(arguments[1])
    except (FixtureError, ZooError, OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        print(f"[Error] {arguments[1]}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(comparison.summary(arguments[0], arguments[1])))
    return 0 if comparison.holds else 1


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_HOME", os.devnull)  # Keras writes to the user's home where it can
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the numbers were recorded with TensorFlow's own kernels
    words = [word for word in sys.argv[1:] if word not in ("--device=cpu", "--device=gpu")]
    if "--device=gpu" in sys.argv:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # float32 and nothing less, of every TensorFlow
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    sys.exit(main(words))
