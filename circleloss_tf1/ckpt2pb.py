"""Export a checkpoint: export.py under its known name."""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from circleloss_tf1 import export

    sys.exit(export.main())
