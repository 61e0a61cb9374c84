"""Compute the LFW accuracy of an offline model from its output files.

    python3 circleloss_tf1/lfw_from_bin.py --bin_path=FOLDER [--index=FILE]

FOLDER contains one output file for each input file of lfw_to_bin.py. Its name begins with that of the input file and
ends in .bin, such as 000000_output_0.bin; float32 [batch, dim], little endian. Prints the lines of evaluate.py and
writes accuracy.json beside index.json.
"""
from __future__ import annotations

import json
import os
import sys
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    import common  # noqa: F401 - which says what packages are missing

import numpy as np

from circleloss_tf1 import lfw, log_lines
from circleloss_tf1.faces import ROOT
from circleloss_tf1.lfw_to_bin import FOLDER, INDEX
from common.cli import inference, program, shared_flags
from common.cli.parser import REQUIRED, FlagSet
from common.data import listing
from common.devices import selection
from common.errors import ZooError
from common.run import run_dir


def define_flags() -> FlagSet:
    """Return the flags."""
    flags = FlagSet(__doc__ or "")
    flags.data.string("bin_path", None, "Folder of the output files.", REQUIRED)
    flags.data.string("index", None, f"{INDEX} of lfw_to_bin.py.", "that of the default run directory")
    shared_flags.define_output(flags)
    flags.data.boolean("json", False, "Print the result as one JSON object.")
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Compute the accuracy; return the exit status."""
    flags = define_flags().parse(arguments)
    default = os.path.join(run_dir.locate(flags.output_path, ROOT, selection.device_id(dict(os.environ))), "export",
                           FOLDER, INDEX)
    index_path = os.path.abspath(os.path.expanduser(flags.index or default))
    index = _read_index(index_path)
    embeddings = _read_outputs(os.path.expanduser(flags.bin_path), index)
    verified = lfw.verify(embeddings, np.array(index["is_same"], bool), index["num_folds"], index["metric"],
                          index["subtract_mean"])
    result = dict(index=index_path, pairs=len(index["is_same"]), **lfw.summary(verified))
    inference.report(os.path.join(os.path.dirname(index_path), "accuracy.json"), result, log_lines.lfw_lines(result),
                     flags.json)
    return 0


def _read_index(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            index = json.load(file)
        is_valid = (len(index["images"]) == 2 * len(index["is_same"]) > 0 and index["batch_size"] > 0
                    and index["num_batches"] == -(-len(index["images"]) // index["batch_size"])
                    and {"num_folds", "metric", "subtract_mean"} <= set(index))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ZooError(f"--index={path}: cannot be read ({error}); write it with lfw_to_bin.py") from None
    if not is_valid:
        raise ZooError(f"--index={path}: is not an index of lfw_to_bin.py")
    return index


def _read_outputs(folder: str, index: dict[str, Any]) -> np.ndarray:
    """Return embeddings, float64 [images, dim]."""
    try:
        names = listing.files(folder, (".bin",))
    except OSError as error:
        raise ZooError(f"--bin_path={folder}: {error.strerror}") from None
    rows = []
    for number in range(index["num_batches"]):
        matches = [name for name in names if name.startswith(f"{number:06d}")]
        if len(matches) != 1:
            raise ZooError(f"--bin_path={folder}: {len(matches)} files {number:06d}*.bin, expected one")
        path = os.path.join(folder, matches[0])
        values = np.fromfile(path, "<f4")
        dim, rest = divmod(os.path.getsize(path), 4 * index["batch_size"])
        if rest or not dim or (rows and dim != rows[0].shape[1]):
            raise ZooError(f"{path}: has {os.path.getsize(path)} bytes, expected float32 [{index['batch_size']}, "
                           f"{rows[0].shape[1] if rows else 'dim'}]")
        if not np.isfinite(values).all():
            raise ZooError(f"{path}: holds values that are not finite")
        rows.append(values.reshape(index["batch_size"], dim))
    return np.concatenate(rows)[:len(index["images"])].astype(np.float64)


if __name__ == "__main__":
    sys.exit(main())
