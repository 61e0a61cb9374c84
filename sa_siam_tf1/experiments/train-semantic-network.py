"""Train the semantic branch: train_siamese_model.py with --branch=semantic."""
import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)
    from sa_siam_tf1 import train_siamese_model

    sys.exit(train_siamese_model.main(["--branch=semantic", *sys.argv[1:]]))
