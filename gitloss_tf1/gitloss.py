"""Git loss on MNIST: train the network of arXiv 1807.08512 and watch the classes move apart.

    python3 gitloss_tf1/gitloss.py --data_path=FOLDER

FOLDER holds MNIST's four IDX files, plain or .gz, or a folder mnist, MNIST, MNIST/raw or MNIST_data with them. On the
60,000 + 10,000 digits of MNIST the original's log gives a validation accuracy of 0.9916 after 8,000 steps (published).
"""
from __future__ import annotations

import dataclasses
import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common.checkpoints import bundle
from common.cli import program, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from common.run.run_dir import RunRequest
from gitloss_tf1 import mnist
from gitloss_tf1.recipe import RECIPES, LossSettings, Switches

NETWORK = "Gitloss_ID1277_for_TensorFlow"
NPU_PRECISION = "allow_mix_precision"
STEPS = 8000


def define_flags() -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder with the four IDX files of MNIST, or its parent.")
    shared_flags.define_training(flags, "Images", LossSettings.batch_size, seed=0)
    shared_flags.define_steps_per_loop(flags)
    shared_flags.define_accelerator(flags, NPU_PRECISION)
    flags.training.integer("steps", None, "Limit as the original counts: N means N - 1 updates.", 2,
                           unset=f"{STEPS} if no limit is given")
    flags.model.number("lambda_c", LossSettings.lambda_c, "Weight of the center term.")
    flags.model.number("lambda_g", LossSettings.lambda_g, "Weight of the pair term; 0 gives the center loss.")
    shared_flags.define_switches(flags.model, Switches, ("center_term", "pair_term", "dead_variables"))
    flags.evaluation.integer("update_centers", 1000, "Steps between evaluations. The name is the original's: centers "
                             "move at every step.", 1)
    flags.alias("update_centers", "eval_interval")
    shared_flags.define_switches(flags.evaluation, Switches, ("distance_centers", "eval_centers", "inter_cls_dist"))
    flags.evaluation.choice("train_time", "training", ["training", "evaluation"], "What train_time, TrainingTime and "
                            "ActualFPS measure; the original measured the evaluation.")
    flags.ignored.boolean("static_shape", False, "Git loss uses full batches only.")
    flags.ignored.string("ckpt_path", None, "Checkpoints are in the run directory.")
    return flags


def num_updates(flags: FlagValues, num_train: int) -> int:
    """Return the updates to make: the smallest of the limits that were given, or the default."""
    return shared_flags.num_updates(flags, STEPS - 1, flags.steps and flags.steps - 1,
                                    flags.epochs and max(1, flags.epochs * num_train // flags.batch_size))


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Train; return the exit status."""
    flag_set = define_flags()
    flags = flag_set.parse(arguments)
    selection.require_single_device(os.environ)
    folder = mnist.find_folder(flags.data_path)
    data = mnist.load(folder)
    device = selection.choose(flags.device, os.environ)
    updates = num_updates(flags, len(data.train.labels))
    request = RunRequest(__file__, NETWORK, arguments, flags, device, NPU_PRECISION, updates)

    from common.graph.session import open_run  # TensorFlow is imported here, after the flags and the device
    from gitloss_tf1 import training

    switches = shared_flags.resolve_switches(RECIPES, flags)
    settings = LossSettings(flags.batch_size, flags.lambda_c, flags.lambda_g, switches)
    identity = dict(dataclasses.asdict(switches), data=data.fingerprint, lambda_c=flags.lambda_c,
                    lambda_g=flags.lambda_g, update_centers=flags.update_centers, train_time=flags.train_time,
                    init_checkpoint=bundle.fingerprint(bundle.init_prefix(flags)))
    notices = [*flag_set.warnings(), *data.notices, f"Data: {folder}, {len(data.train.labels)} training, "
               f"{len(data.validation.labels)} validation and {len(data.test.labels)} test images",
               shared_flags.recipe_notice(flags.recipe, switches)]
    with open_run(request, identity, notices) as run:
        training.train(settings, data, run, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
