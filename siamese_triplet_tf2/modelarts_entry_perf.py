"""Boot file on ModelArts: measure the training speed of the triplet network."""
import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[0] = os.path.dirname(folder)
    try:
        from common.cli import modelarts
    except ImportError:
        sys.exit("[Error] common/ is missing: upload the repository root as code directory")
    from siamese_triplet_tf2.siamese_network import define_flags

    sys.exit(modelarts.main(os.path.join(folder, "test", "train_performance_1p.sh"), define_flags()))
