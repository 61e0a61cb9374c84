"""Siamese network on Omniglot: do two drawings show the same character?

    python3 siamese_omniglot/run_scripts/run_siamese_train.py --train_data_path FOLDER --device cpu --use_amp True

FOLDER holds <Alphabet>/<character>/<drawing>.png, 105 x 105, or a folder image_background or images_background* with
them. Published: accuracy 97.2% on random pairs at probability 0.5, of characters that were trained on.
"""
from __future__ import annotations

import dataclasses
import os
import sys

if __name__ == "__main__":
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[0] = os.path.dirname(folder)

from common.checkpoints import bundle, h5_weights
from common.cli import program, shared_flags
from common.cli.parser import FlagSet, FlagValues
from common.devices import selection
from common.distributed import processes
from common.errors import FlagError
from common.run.run_dir import RunRequest
from siamese_omniglot import pretrained
from siamese_omniglot.data import omniglot
from siamese_omniglot.log_lines import IMAGES_PER_SAMPLE
from siamese_omniglot.recipe import RECIPES, TORCH_WEIGHT_DECAY, Switches

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NETWORK = "Siamese"
MODEL_NAMES = ("siamese", "siamese_omniglot")
BATCH_SIZE = 32
EPOCHS = 50
LEARNING_RATE = 1e-2
NPU_PRECISIONS = {False: "allow_fp32_to_fp16", True: "allow_mix_precision"}  # by use_amp
IGNORED = {
    "grad_scale": "Keras or the NPU adapter scales the loss when float16 is mixed in.",
    "do_eval": "Every epoch ends with an evaluation; evaluate.py runs one separately.",
    "do_predict": "Use predict.py.",
    "train_annotation_path": "It belongs to the launcher's face models; classes are folders here.",
    "val_data_path": "It belongs to the launcher's face models; see --split.",
    "val_pairs_path": "It belongs to the launcher's face models; pairs are drawn here.",
}


def define_flags() -> FlagSet:
    """Return the flags of training."""
    flags = FlagSet(__doc__ or "")
    shared_flags.define_data(flags, "Folder of the alphabets, or its parent.")
    flags.alias("data_path", "train_data_path")
    shared_flags.define_training(flags, "Samples of two pairs", BATCH_SIZE, seed=0, epochs=str(EPOCHS))
    flags.alias("batch_size", "bs")
    flags.alias("init_checkpoint", "checkpoint_path")
    shared_flags.define_accelerator(flags, "as --use_amp says", {"sdaa": "sdaa is the same as auto."})
    flags.accelerator.boolean("use_amp", False, "Mixed precision where the device has it: allow_mix_precision on an "
                              "NPU, float16 on a GPU.")
    flags.alias("use_amp", "autocast")
    flags.data.integer("num_workers", 2, "Processes that make the images of the next batches; 0 makes them in the "
                       "training process.", 0, 64)
    flags.training.integer("step", -1, "Number of updates within one epoch; -1 sets no limit.", -1)
    flags.training.number("lr", LEARNING_RATE, "Learning rate for a batch of 64; scaled with the batch, within limits.")
    flags.alias("lr", "learning-rate", "learning_rate")
    flags.training.choice("lr_decay", "cosine", ["cosine", "step"], "Decay of the learning rate.")
    flags.training.number("warm_up", 0.0, "Epochs of warm-up; 0 takes the original's.")
    flags.training.choice("optimizer", "sgd", ["sgd", "adam"], "Optimizer; sgd has Nesterov's momentum.")
    flags.training.number("weight_decay", None, "Multiple of the weights that is added to their gradients.",
                          unset="that of the head")
    flags.training.choice("loss", "pairs", ["pairs", "n_pair"], "pairs: the cross entropy of pairs. n_pair: adds the "
                          "N-pair loss; a batch then consists of pairs of the same character, and pairs of different "
                          "characters are formed from them.")
    flags.training.integer("early_stop", -1, "Stop after this many epochs without a better validation loss; -1 never "
                           "stops.", -1)
    flags.model.choice("backbone", "vgg16", ["vgg16", "conv4"], "Network; conv4 is small enough for a CPU.")
    flags.model.string("weights", None, "File with initial weights in the HDF5 layout of Keras, or none.")
    flags.model.string("model_name", None, "Must be Siamese if it is given.")
    shared_flags.define_switches(flags.model, Switches, ("head",))
    shared_flags.define_switches(flags.data, Switches, ("split", "use_all_characters", "augment", "exif_orientation"))
    processes.define(flags)
    flags.ignored.boolean("static_shape", False, "All batches are full.")
    for name, reason in IGNORED.items():
        flags.ignored.string(name, None, reason)
    return flags


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Train; return the exit status."""
    flag_set = define_flags()
    flags = flag_set.parse(arguments)
    if flags.model_name and flags.model_name.lower() not in MODEL_NAMES:
        raise FlagError(f"--model_name={flags.model_name}: this program trains {NETWORK}")
    processes.check(flags)
    path = omniglot.find(flags.data_path, ROOT)
    device = selection.choose("auto" if flags.device == "sdaa" else flags.device, os.environ)
    rank = processes.resolve_rank(flags, device.kind)
    if flags.loss == "n_pair" and rank.size > 1:
        raise FlagError(f"--loss={flags.loss}: compares all pairs of a batch and needs one process")
    switches = shared_flags.resolve_switches(RECIPES, flags)
    data = omniglot.load(path, switches.exif_orientation)
    split = omniglot.split(data, switches.split)
    samplers = omniglot.samplers(data, split, flags.seed, switches.use_all_characters)
    if len(split.train) < flags.batch_size:
        raise FlagError(f"--batch_size={flags.batch_size}: only {len(split.train)} training drawings; choose a "
                        "smaller batch")
    request = RunRequest(
        __file__, NETWORK, arguments, flags, device, NPU_PRECISIONS[flags.use_amp], _num_updates(flags, split),
        root=ROOT, rank=rank, images_per_step=IMAGES_PER_SAMPLE[flags.loss] * flags.batch_size,
        gpu_precision="allow_mix_precision" if flags.use_amp else None)
    weights_path, init_prefix = pretrained.find(flags.weights, ROOT), bundle.init_prefix(flags)
    weight_decay = flags.weight_decay
    if weight_decay is None:
        weight_decay = TORCH_WEIGHT_DECAY if switches.head == "torch" else 0.0
    identity = dict(dataclasses.asdict(switches), data=data.fingerprint, backbone=flags.backbone,
                    optimizer=flags.optimizer, lr=flags.lr, lr_decay=flags.lr_decay, warm_up=flags.warm_up,
                    weight_decay=weight_decay, early_stop=flags.early_stop,
                    loss=None if flags.loss == "pairs" else flags.loss,
                    weights=h5_weights.fingerprint(weights_path), init_checkpoint=bundle.fingerprint(init_prefix))
    notices = [*flag_set.warnings(), *_notices(flags), *processes.notices(flags, rank, f"{2 * flags.batch_size} pairs"),
               *data.notices,
               f"Data: {path}, {len(data.labels)} drawings of {len(data.characters)} characters, {len(split.train)} "
               f"train, {len(split.validation)} validate; {data.store.rows.nbytes / 1e6:.1f} MB in memory",
               shared_flags.recipe_notice(flags.recipe, switches)]
    processes.start(flags, [os.path.abspath(__file__), *arguments], device.kind)

    from common.keras.session import open_run  # TensorFlow is imported here, in the processes that train
    from siamese_omniglot import training

    inputs = training.Inputs(switches, len(split.train) // flags.batch_size, _num_epochs(flags), weight_decay,
                             weights_path, init_prefix, data.store, samplers)
    with open_run(request, identity, notices) as run:
        if flags.use_amp and run.device.kind == "cpu":
            print("use_amp: a CPU computes in float32")
        training.train(inputs, run, stop)
    return 0


def _notices(flags: FlagValues) -> list[str]:
    notices = []
    if flags.device == "sdaa":
        notices.append("Warning: --device=sdaa is treated as auto")
    if flags.step > 0 and (flags.epochs or 1) > 1:
        notices.append(f"Warning: --step={flags.step} with --epochs={flags.epochs}: at most one epoch is trained")
    return notices


def _num_epochs(flags: FlagValues) -> int:
    return 1 if flags.step > 0 else flags.epochs or EPOCHS


def _num_updates(flags: FlagValues, split: omniglot.Split) -> int:
    limits = [flags.train_steps, flags.step if flags.step > 0 else None,
              _num_epochs(flags) * (len(split.train) // flags.batch_size),
              shared_flags.PERFORMANCE_UPDATES if flags.performance and not flags.train_steps else None]
    return min(limit for limit in limits if limit)


if __name__ == "__main__":
    processes.leave(main())
