"""Generate a tiny data set: python3 -m common.tiny_data FORMAT FOLDER."""
from __future__ import annotations

import sys
import textwrap
from typing import Callable

from common.cli import program
from common.errors import FlagError
from common.tiny_data import faces, look_alikes, mnist, omniglot, tracking

MAKERS: dict[str, Callable[[str], None]] = {
    "faces": faces.make, "look_alikes": look_alikes.make, "mnist": mnist.make, "omniglot": omniglot.make,
    "tracking": tracking.make,
}
_COMMAND = f"python3 -m common.tiny_data {'|'.join(MAKERS)} FOLDER"


def _usage() -> str:
    documents = {name: (sys.modules[make.__module__].__doc__ or "").splitlines()[0] for name, make in MAKERS.items()}
    formats = "\n".join(textwrap.fill(f"  {name:<12}{text}", 80, subsequent_indent=" " * 14)
                        for name, text in documents.items())
    return f"{_COMMAND}\n\nGenerates a tiny data set in the real format in FOLDER, which is created:\n{formats}"


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Generate one data set; return the exit status."""
    if "-h" in arguments or "--help" in arguments:
        raise program.HelpRequested(f"usage: {_usage()}")
    data_format, folder = program.positionals(arguments, _COMMAND, 2)
    if data_format not in MAKERS:
        raise FlagError(f"unknown format {data_format}; usage: {_COMMAND}")
    MAKERS[data_format](folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
