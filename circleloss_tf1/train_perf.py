"""Measure the training speed of Circle loss: train_acc.py with --performance."""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from circleloss_tf1 import train_acc

    sys.exit(train_acc.main(["--performance", *sys.argv[1:]]))
