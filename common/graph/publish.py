"""Publish the weights of a run.

    zoo publish RUN_DIR FOLDER

FOLDER must not exist. It becomes like a run directory, with

    ckpt/model.ckpt-STEP.*  the best checkpoint, without the optimizer's variables
    arguments.json          settings of the run, without paths
    metrics.jsonl           its evaluations
    *.npy                   what a model needs besides its weights, such as a mean image
    SHA256SUMS              checksums of these files

Add a README.md that names the data and its licence. `--checkpoint=FOLDER` of evaluate, predict and export checks the
sums and uses the weights.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import sys
from typing import Any

from common import atomic_files
from common.checkpoints import bundle, trained
from common.cli import program
from common.data import checksums
from common.errors import ZooError
from common.run import metrics, run_dir

USAGE = "zoo publish RUN_DIR FOLDER"
_KEPT_ARGUMENTS = ("identity", "num_updates", "performance", "started", "threads", "versions", "git_revision")
_SLOTS = ("optimizer/", "Adam/")
_PATH_FLAG = re.compile(r"--(output_path|train_url|exp_save_dir)=")


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Publish; return the exit status."""
    run_path, folder = (os.path.abspath(os.path.expanduser(path)) for path in program.positionals(arguments, USAGE, 2))
    if not run_dir.is_run(run_path):
        raise ZooError(f"{run_path}: not a run directory, it has no {run_dir.ARGUMENTS}")
    prefix = trained.find(run_path)
    if os.path.lexists(folder):
        raise ZooError(f"{folder}: exists already; choose a new folder")

    temporary = f"{folder}.{os.getpid()}.tmp"
    os.makedirs(os.path.join(temporary, "ckpt"))
    try:
        write_weights(prefix, os.path.join(temporary, "ckpt", os.path.basename(prefix)))
        atomic_files.write_json(os.path.join(temporary, run_dir.ARGUMENTS), _arguments(run_path))
        evaluations = "".join(json.dumps(row) + "\n" for row in metrics.read_rows(run_path, "eval"))
        atomic_files.write_text(os.path.join(temporary, metrics.METRICS), evaluations)
        for name in sorted(os.listdir(run_path)):
            if name.endswith(".npy"):
                shutil.copyfile(os.path.join(run_path, name), os.path.join(temporary, name))
        names = sorted(os.path.relpath(os.path.join(base, name), temporary)
                       for base, _, files in os.walk(temporary) for name in files)
        sums = [f"{checksums.of_file(os.path.join(temporary, name))}  {name}\n" for name in names]
        atomic_files.write_text(os.path.join(temporary, checksums.SUMS), "".join(sums))
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary)
        raise
    print(f"Checkpoint: {prefix}", f"Published: {folder}", sep="\n")
    return 0


def write_weights(prefix: str, new_prefix: str) -> None:
    """Write a bundle without the variables of an optimizer; ZooError if it is damaged.

    Their names begin with one of _SLOTS for Keras models. For graph models they are those of a variable and one
    more part, such as `fc1/weights/Adam`, or `beta1_power` and `beta2_power`.
    """
    from common.graph.compat import tf

    names = set(bundle.shapes_in(prefix, tf))
    kept = sorted(name for name in names if name.rpartition("/")[0] not in names
                  and not name.startswith(_SLOTS) and not name.endswith(("beta1_power", "beta2_power")))
    with bundle.literal(prefix) as path, tf.Graph().as_default(), tf.Session() as session:
        reader = tf.train.load_checkpoint(path)
        variables = [tf.get_variable(name, initializer=reader.get_tensor(name)) for name in kept]
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(variables)
        folder, name = os.path.split(new_prefix)
        bundle.write_atomically(folder, name, lambda target: saver.save(session, target, write_meta_graph=False,
                                                                        write_state=False))


def _arguments(run_path: str) -> dict[str, Any]:
    """Return arguments.json as it is published: without the paths of the machine that trained."""
    arguments = run_dir.read_arguments(run_path)
    command = [re.sub(r"^(--data_(?:path|dir|url))=.*", r"\1=DATA", word) for word in arguments["command"]
               if not _PATH_FLAG.match(word)]
    kept = {key: arguments[key] for key in _KEPT_ARGUMENTS if key in arguments}
    return dict(kept, command=command, segments=arguments["segments"][:1])


if __name__ == "__main__":
    sys.exit(main())
