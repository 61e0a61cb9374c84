"""Train with Ray Train, which starts a worker per GPU and sets TF_CONFIG.

    python3 docs/scale/ray_train.py WORKERS DATA OUTPUT [--flag=value ...]

Needs Ray, which is not among the requirements. A job that loses a worker is started again, up to three times, and
resumes from its last checkpoint; DATA and OUTPUT must be at the same paths on all machines.
"""
from __future__ import annotations

import os
import subprocess
import sys

import ray.train
from ray.train.tensorflow import TensorflowTrainer

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "siamese_omniglot", "test", "train_full_1p.sh")


def train(config: dict) -> None:
    """Run the training script as one of the workers; TF_CONFIG says which."""
    environment = dict(os.environ)
    environment.pop("TF_USE_LEGACY_KERAS", None)  # Ray sets it, and asks for a Keras that is not installed
    subprocess.run(["bash", SCRIPT, "--distributed=True", *config["flags"]], env=environment, check=True)


def main() -> None:
    """Start the workers and wait for them."""
    num_workers, data_path, output_path, *flags = sys.argv[1:]
    trainer = TensorflowTrainer(
        train,
        train_loop_config=dict(flags=[f"--data_path={data_path}", f"--output_path={output_path}", *flags]),
        scaling_config=ray.train.ScalingConfig(num_workers=int(num_workers), use_gpu="--device=cpu" not in flags),
        run_config=ray.train.RunConfig(failure_config=ray.train.FailureConfig(max_failures=3)),
    )
    trainer.fit()


if __name__ == "__main__":
    main()
