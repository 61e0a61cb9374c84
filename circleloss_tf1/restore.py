"""Weights of a run, restored for evaluate, predict and export."""
from __future__ import annotations

from typing import Any, Callable

from circleloss_tf1.evaluation import Embedder
from circleloss_tf1.recipe import NetworkSettings
from common.checkpoints.trained import Checkpoint
from common.cli.parser import FlagValues
from common.errors import FlagError
from common.graph import checkpoints
from common.graph.compat import tf


def network_settings(checkpoint: Checkpoint, flags: FlagValues) -> NetworkSettings:
    """Return the settings of a run's network; flags that were given win.

    Raises FlagError if moving statistics are asked for, of a run that never updated them.
    """
    identity = checkpoint.run_identity()
    if (identity.get("batch_norm"), flags.batch_norm) == ("batch", "moving"):
        raise FlagError("--batch_norm=moving: the run was trained with --batch_norm=batch, which leaves the moving "
                        "statistics where they began; train with --batch_norm=moving")
    given = {name: flags[name].value for name in ("model_def", "batch_norm", "jpeg_decoding", "exif_orientation")
             if name in flags and flags[name].value is not None}
    return NetworkSettings.from_identity({**identity, **given})


def variables(session: tf.Session, checkpoint: Checkpoint, settings: NetworkSettings) -> None:
    """Restore the variables of the default graph; moving statistics only where they are used.

    The original's checkpoints have no moving statistics, and batch statistics need none.
    """
    weights, moving = [], []
    for variable in tf.global_variables():
        (moving if variable.op.name.endswith(("/moving_mean", "/moving_variance")) else weights).append(variable)
    session.run(tf.variables_initializer(moving))
    used = weights + moving if settings.switches.batch_norm == "moving" else weights
    checkpoints.restore_all(session, checkpoint.prefix, used)


def embedder(session: tf.Session, checkpoint: Checkpoint, settings: NetworkSettings, batch_size: int,
             use_flipped_images: bool, use_averages: bool) -> Embedder:
    """Build pipeline and network in the default graph and restore the variables; arguments as the flags."""
    built = Embedder(batch_size, settings, use_flipped_images, averaged if use_averages else None)
    variables(session, checkpoint, settings)
    return built


def averaged(getter: Callable, name: str, *arguments: Any, **keywords: Any) -> Any:
    """Get every trainable variable under the name of its moving average, to restore the average."""
    suffix = "/ExponentialMovingAverage" if keywords.get("trainable") is not False else ""
    return getter(name + suffix, *arguments, **keywords)
