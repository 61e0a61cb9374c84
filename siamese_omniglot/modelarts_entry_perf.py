"""Boot file on ModelArts: measure the training speed of the Siamese network."""
import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[0] = os.path.dirname(folder)
    try:
        import common  # noqa: F401 - which says what packages are missing
    except ImportError:
        sys.exit("[Error] common/ is missing: upload the repository root as code directory")
    from common.cli import modelarts
    from siamese_omniglot.run_scripts.run_siamese_train import define_flags

    sys.exit(modelarts.main(os.path.join(folder, "test", "train_performance_1p.sh"), define_flags()))
