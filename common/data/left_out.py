"""Images of a searched folder that cannot be read: they are reported and left out, and the program fails at its end.

A file that the user names, as a query or in --against, must be readable.
"""
from __future__ import annotations

from typing import Iterable, Sequence

from common import console
from common.errors import ZooError


class LeftOut:
    """The images that a search leaves out.

    Attributes:
        reasons: why each cannot be read, by path.
    """

    def __init__(self, named: Iterable[str]):
        """Leave out nothing yet.

        Args:
            named: the files that the user names.
        """
        self.reasons: dict[str, str] = {}
        self._named = set(named)

    def add(self, path: str, reason: str) -> None:
        """Leave out an image and report it.

        Args:
            path: the image.
            reason: a line that names the image and says why it cannot be read.

        Raises:
            ZooError: the user names the image.
        """
        if path in self._named:
            raise ZooError(reason)
        if path not in self.reasons:
            self.reasons[path] = reason
            console.notice(f"Warning: {reason}; left out")

    def rest_of(self, paths: Sequence[str]) -> list[str]:
        """Return the images that are not left out.

        Raises:
            ZooError: all of them are.
        """
        rest = [path for path in paths if path not in self.reasons]
        if not rest:
            raise ZooError(f"none of {len(paths)} images can be read")
        return rest

    def require_none(self, num_found: int) -> None:
        """Raise ZooError if images were left out; call it when the results are written.

        Args:
            num_found: number of images that were found.
        """
        if self.reasons:
            raise ZooError(f"{len(self.reasons)} of {num_found} images were left out because they cannot be read; fix "
                           "or remove them")
