"""Make a tiny data set: python3 -m common.tiny_data FORMAT FOLDER."""
from __future__ import annotations

import sys
from typing import Callable

from common.cli import program
from common.cli.program import StopRequest
from common.errors import FlagError
from common.tiny_data import faces, look_alikes, mnist, omniglot, tracking

MAKERS: dict[str, Callable[[str], None]] = {
    "faces": faces.make, "look_alikes": look_alikes.make, "mnist": mnist.make, "omniglot": omniglot.make,
    "tracking": tracking.make,
}


def main(arguments: list[str]) -> int:
    """Make one data set; return the exit status."""

    def body(stop: StopRequest) -> int:
        del stop
        if len(arguments) != 2 or arguments[0] not in MAKERS:
            raise FlagError(f"usage: python3 -m common.tiny_data {'|'.join(MAKERS)} FOLDER")
        MAKERS[arguments[0]](arguments[1])
        return 0

    return program.run(body)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
