"""Measure the training speed of Git loss: gitloss.py with --performance."""
import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from gitloss_tf1 import gitloss

    sys.exit(gitloss.main(["--performance", *sys.argv[1:]]))
