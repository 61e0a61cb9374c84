"""What the fakes have seen of this process, for tests to read."""
from __future__ import annotations

import dataclasses
import gc
import os
import sys
from typing import Any


@dataclasses.dataclass
class SessionRecord:
    """A session that the graph adapter accepted.

    Attributes:
        config: its ConfigProto as it was given, with the NpuOptimizer.
        parameters: the NpuOptimizer's options.
        environment: os.environ at that moment.
        signatures: what was run, each different set of fetches, feeds and shapes once; a real NPU compiles each.
        is_closed: close() was called, by a program and not by the garbage collector.
    """

    config: Any
    parameters: dict[str, bool | int | str]
    environment: dict[str, str]
    signatures: list[tuple] = dataclasses.field(default_factory=list)
    is_closed: bool = False


@dataclasses.dataclass
class Opening:
    """A call of npu_device.open() that was accepted.

    Attributes:
        device_id: the device.
        options: the adapter's options as they are handed on to C++.
        environment: os.environ at that moment.
        allows_hf32: TensorFlow's switch for TF32 at that moment, None without TensorFlow.
        num_as_default: calls of as_default() on the handle.
    """

    device_id: int
    options: dict[str, str]
    environment: dict[str, str]
    allows_hf32: bool | None = None
    num_as_default: int = 0


class Process:
    """One process of the real thing.

    Attributes:
        sessions: the sessions of the graph adapter.
        openings: the accepted calls of npu_device.open() that opened something, one at most.
        is_v1_enabled: npu_device.compat.enable_v1() was called.
        num_graphs: graphs that were compiled.
        options: npu_device.global_options(), once asked for.
        handle: what open() returned.
        calls: what npu_device was asked for, in order; in a graph when it is traced. Name and what matters:
            ("open", device), ("as_default",), ("shard", samples, samples of this rank), ("optimizer_wrapper",
            reduction), ("loss_scale_optimizer",), ("broadcast", root, tensors), ("all_reduce", reduction, tensors,
            fusion).
        num_collectives: collectives that were made, over the ranks.
        sat_mode: what `set_device_sat_mode` set, None for the product's own.
        overflows: steps in which a loss that is scaled overflows on this rank, from 1; see `train/optimizer.py`.
        graphs: what was sent to the NPU as a tf.function, each different shape of arguments once. Ranks whose graphs
            differ wait for each other for ever.
        loss_scales: what the NPULossScaleOptimizers of graph models were made with: first scale, steps until it grows,
            overflows until it shrinks, and the ratios.
    """

    def __init__(self) -> None:
        self.sessions: list[SessionRecord] = []
        self.openings: list[Opening] = []
        self.is_v1_enabled = False
        self.num_graphs = 0
        self.options: Any = None
        self.handle: Any = None
        self.calls: list[tuple] = []
        self.num_collectives = 0
        self.sat_mode: int | None = None
        self.overflows = [int(step) for step in os.environ.get("ZOO_FAKE_OVERFLOWS", "").split(",") if step]
        self.graphs: list[str] = []
        self.loss_scales: list[tuple] = []
        self._older_variables: set[int] = set()

    def reset(self) -> None:
        """Begin another process; variables that are alive are leftovers of the one before."""
        self.__init__()
        self._older_variables = {id(variable) for variable in _eager_variables()}

    def eager_variables(self) -> list[Any]:
        """The living eager variables of this process."""
        return [variable for variable in _eager_variables() if id(variable) not in self._older_variables]


def _eager_variables() -> list[Any]:
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not tensorflow.executing_eagerly():
        return []
    kinds = _with_subclasses(tensorflow.Variable)
    variables = [thing for thing in gc.get_objects() if type(thing) in kinds]
    return [variable for variable in variables if not getattr(variable, "_in_graph_mode", True)]


def _with_subclasses(kind: type) -> set[type]:
    return {kind}.union(*(_with_subclasses(subclass) for subclass in type.__subclasses__(kind)))


process = Process()
