"""Boot file on ModelArts: train Circle loss to the end."""
import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[0] = os.path.dirname(folder)
    try:
        from common.cli import modelarts
    except ImportError:
        sys.exit("[Error] common/ is missing: upload the repository root as code directory")
    from circleloss_tf1.train_acc import define_flags

    sys.exit(modelarts.main(os.path.join(folder, "test", "train_full_1p.sh"), define_flags()))
