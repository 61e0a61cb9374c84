"""SA-Siam; common comes first, since it names packages that are missing."""
from __future__ import annotations

import os
from typing import Any

import common  # noqa: F401
from common.errors import ZooError


def load_opencv() -> Any:
    """Return the module cv2; raise ZooError if it is missing or fails to load."""
    try:
        import cv2
    except ImportError as error:  # also of a missing shared library
        requirements = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")
        raise ZooError(f"OpenCV cannot be imported ({error}): pip3 install -r {requirements}") from None
    return cv2
