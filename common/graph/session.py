"""Sessions of graph models: an open run and its training steps, or a session for programs that use trained weights."""
from __future__ import annotations

import contextlib
import os
import re
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from common.devices import selection
from common.devices.npu_options import DebugPlan, NpuOptions
from common.devices.selection import ALONE, Rank
from common.errors import step_errors
from common.graph import compat, npu
from common.graph.compat import tf
from common.run import opening
from common.run.opening import Run
from common.run.run_dir import RunRequest


@contextlib.contextmanager
def open_run(request: RunRequest, identity: Mapping[str, Any], notices: Sequence[str]) -> Iterator[Run]:
    """Start the device and open the run; arguments and errors as those of `opening.open_run`."""
    device, own_notices = _start(request.device, request.flags.device, request.options, request.rank)
    if request.flags.jit_compile:  # read when the first session is made; without it, XLA leaves a CPU out
        os.environ["TF_XLA_FLAGS"] = f"{os.environ.get('TF_XLA_FLAGS', '')} --tf_xla_cpu_global_jit".strip()
    with opening.open_run(request, device, tf.__version__, identity, [*own_notices, *notices]) as run:
        selection.prepare_gpu(device, run.precision, request.flags.deterministic, compat.config.experimental)
        yield run


def session_config(run: Run) -> tf.ConfigProto:
    """Return the configuration of a run's session: its device, precision, threads and XLA."""
    is_mixed = run.precision == "allow_mix_precision"
    config = npu.session_config(run.device, run.request.options, run.arguments["threads"], is_mixed)
    if run.request.flags.jit_compile:
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    return config


@contextlib.contextmanager
def inference_session(device: selection.Device, requested: str, npu_precision: str, quiet: bool
                      ) -> Iterator[tf.Session]:
    """Start the device, print which one it is unless `quiet`, and open a session on a new graph."""
    options = NpuOptions(npu_precision)
    device, notices = _start(device, requested, options)
    if not quiet:
        print(selection.describe(device, tf.__version__, selection.precision_in_effect(device, None, npu_precision)),
              *notices, sep="\n")
    config = npu.session_config(device, options, selection.num_cpus())
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        yield session


def _start(device: selection.Device, requested: str, options: NpuOptions, rank: Rank = ALONE
           ) -> tuple[selection.Device, list[str]]:
    """Return the device, started, and notices about the environment."""
    compat.enable()
    device = selection.settle(device, requested, tf)
    return device, npu.start(device, options, rank)


class StepDebugger:
    """Runs training steps with over_dump, data_dump and profiling; on an NPU the adapter does all three."""

    def __init__(self, run: Run, dumped: Mapping[str, tf.Tensor]):
        """Add the numeric checks to a graph of nothing but training; `dumped` are tensors of a dump, by name."""
        options = run.debug_options
        self._plan = DebugPlan(options, run.request.num_updates)
        self._dumped, self._loss_scale = dict(dumped), npu.loss_scale()
        self._checks = [tf.add_check_numerics_ops()] if options.over_dump_path else []

    def run(self, session: tf.Session, fetches: Mapping[str, Any], feeds: Mapping[tf.Tensor, np.ndarray], update: int
            ) -> dict[str, Any]:
        """Run a training step and return the values of the fetches, by name, and `loss_scale` if there is one.

        Updates count from 1. Raises ZooError if over_dump found NaN or infinity, or the device is out of memory.
        """
        all_fetches: dict[str, Any] = {"values": dict(fetches, **self._loss_scale), "checks": self._checks}
        if self._plan.dumps(update):
            all_fetches["dump"] = self._dumped
        run_options = metadata = None
        if self._plan.profiles(update):
            run_options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
            metadata = tf.RunMetadata()
        try:
            with step_errors(tf.errors):
                results = session.run(all_fetches, feeds, run_options, metadata)
        except tf.errors.InvalidArgumentError as error:
            if not self._checks:
                raise
            raise self._plan.overflow(_summarise(error.message), error.message, update) from None
        if "dump" in results:
            self._plan.write_dump(results["dump"], update)
        if metadata is not None:
            self._write_profile(session, metadata, update)
        return results["values"]

    def _write_profile(self, session: tf.Session, metadata: Any, update: int) -> None:
        from tensorflow.python.client import timeline

        folder = self._plan.options.profiling_path
        assert folder is not None
        trace = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
        with open(os.path.join(folder, f"timeline-{update}.json"), "w", encoding="utf-8") as file:
            file.write(trace)
        writer = tf.summary.FileWriter(folder, session.graph)
        writer.add_run_metadata(metadata, f"step {update}", update)
        writer.close()


def _summarise(message: str) -> str:
    """Shorten the message of CheckNumerics, which contains `<tensor> : Tensor had NaN values`."""
    match = re.search(r"(\S+) : Tensor had ([^\n\[]*)", message)
    return f"op {match.group(1)} produced {match.group(2).strip()}" if match else message.split("\n", 1)[0]
