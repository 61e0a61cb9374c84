"""Track a target: inference/track.py under the name that all models share."""
import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from sa_siam_tf1.inference.track import define_flags, main

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    sys.exit(main())
