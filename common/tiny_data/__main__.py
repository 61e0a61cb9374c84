"""Generate a tiny data set: python3 -m common.tiny_data FORMAT FOLDER."""
from __future__ import annotations

import sys
from typing import Callable

from common.cli import program
from common.errors import FlagError
from common.tiny_data import faces, look_alikes, mnist, omniglot, tracking

MAKERS: dict[str, Callable[[str], None]] = {
    "faces": faces.make, "look_alikes": look_alikes.make, "mnist": mnist.make, "omniglot": omniglot.make,
    "tracking": tracking.make,
}


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Generate one data set; return the exit status."""
    usage = f"python3 -m common.tiny_data {'|'.join(MAKERS)} FOLDER"
    data_format, folder = program.positionals(arguments, usage, 2)
    if data_format not in MAKERS:
        raise FlagError(f"unknown format {data_format}; usage: {usage}")
    MAKERS[data_format](folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
