"""Trained weights for tracking: of one branch, or of both from two checkpoints."""
from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import Callable, Iterator, NamedTuple

from common.checkpoints import bundle, trained
from common.checkpoints.trained import Checkpoint
from common.cli.parser import FlagValues
from common.cli.shared_flags import find_path
from common.devices.selection import Device
from common.errors import FlagError, ZooError, reason_of
from common.graph import checkpoints
from common.graph.compat import tf
from common.graph.session import inference_session
from sa_siam_tf1 import configuration
from sa_siam_tf1.configuration import BRANCHES, ModelConfig, TrackConfig
from sa_siam_tf1.inference.inference_wrapper import InferenceWrapper
from sa_siam_tf1.inference.tracker import Tracker
from sa_siam_tf1.train_siamese_model import NPU_PRECISION


class TrackerWeights(NamedTuple):
    """The checkpoints and the configuration of a tracker."""

    prefixes: dict  # of the checkpoints, by branch
    model: ModelConfig
    track: TrackConfig


def tracker_weights(flags: FlagValues, checkpoint: Checkpoint) -> TrackerWeights:
    """Find the branches in a checkpoint and in --semantic_checkpoint, and the configuration.

    Raises:
        ZooError: a checkpoint is missing or holds neither branch.
        FlagError: two checkpoints of one branch.
    """
    prefixes = dict.fromkeys(_branches_in(checkpoint.prefix), checkpoint.prefix)
    if flags.semantic_checkpoint:
        other = trained.find(flags.semantic_checkpoint)
        if list(prefixes) != ["appearance"] or _branches_in(other) != ["semantic"]:
            raise FlagError(f"--semantic_checkpoint: {checkpoint.prefix} holds {' and '.join(prefixes)}, {other} "
                            f"{' and '.join(_branches_in(other))}; expected appearance and semantic")
        prefixes["semantic"] = other
    branch = "both" if len(prefixes) == 2 else next(iter(prefixes))
    folder = find_path("config", flags.config, configuration.ROOT) if flags.config else checkpoint.run_path
    model, track = (configuration.load(kind, folder, is_optional=not flags.config) if folder else kind()
                    for kind in (ModelConfig, TrackConfig))
    model = dataclasses.replace(model, branch=branch)
    if flags.c_appearance is not None:
        if branch != "both":
            raise FlagError("--c_appearance weighs two branches; give --semantic_checkpoint too")
        model = dataclasses.replace(model, c_appearance=flags.c_appearance)
    return TrackerWeights(prefixes, model, track)


@contextlib.contextmanager
def open_tracker(flags: FlagValues, checkpoint: Checkpoint, device: Device
                 ) -> Iterator[tuple[TrackerWeights, Callable]]:
    """Start the device, and yield the weights and a `sequences.MakeTracker` with them.

    Raises:
        ZooError: as `tracker_weights`, or this TensorFlow lacks convolutions of --compute_dtype on this device.
    """
    with inference_session(device, flags.device, NPU_PRECISION, flags.json) as session:
        weights, dtype = tracker_weights(flags, checkpoint), tf.as_dtype(flags.compute_dtype)
        _try_convolution(session, dtype)
        wrapper = InferenceWrapper(weights.model, weights.track, dtype)
        variables(session, weights)
        yield weights, functools.partial(Tracker, session, wrapper)


def variables(session: tf.Session, weights: TrackerWeights) -> None:
    """Restore all variables of the default graph from their branches' checkpoints; raise ZooError if one is missing."""
    for branch, prefix in weights.prefixes.items():
        shapes = bundle.shapes_in(prefix, tf)
        variables_by_name = {}
        for variable in tf.global_variables():
            name = variable.op.name
            if f"/{branch}_net/" in name or name in ("detection/biases", f"detection/biases_{branch}"):
                # in the checkpoint of one branch the bias is called detection/biases
                stored_name = "detection/biases" if "detection/" in name and name not in shapes else name
                variables_by_name[stored_name] = variable
        checkpoints.load(session, prefix, variables_by_name)


def _try_convolution(session: tf.Session, dtype: tf.DType) -> None:
    """TensorFlow 2.6 registers bfloat16 convolutions and fails to run them on many CPUs."""
    ones = tf.ones([1, 3, 3, 1], dtype)
    try:
        session.run(tf.cast(tf.nn.conv2d(ones, tf.ones([3, 3, 1, 1], dtype), [1, 1, 1, 1], "VALID"), tf.float32))
    except tf.errors.OpError as error:
        raise ZooError(f"--compute_dtype={dtype.name}: this TensorFlow cannot convolve in it here "
                       f"({reason_of(error)}); use float32") from None


def _branches_in(prefix: str) -> list[str]:
    names = bundle.shapes_in(prefix, tf)
    branches = [branch for branch in BRANCHES if f"sa_siam/{branch}_net/conv1/weights" in names]
    if not branches:
        raise ZooError(f"{prefix}: holds no variable of sa_siam/appearance_net or sa_siam/semantic_net; is it a "
                       "checkpoint of this model?")
    return branches
