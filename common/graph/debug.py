"""over_dump, data_dump and profiling of graph models without an NPU; on an NPU the adapter does all three."""
from __future__ import annotations

import os
import re
from typing import Any, Mapping

import numpy as np

from common.graph.compat import tf
from common.run.debug_plan import DebugPlan, too_little_memory
from common.run.opening import Run


class StepDebugger:
    """Runs training steps, with the checks, dumps and profiles that the flags ask for."""

    def __init__(self, run: Run, dumped: Mapping[str, tf.Tensor]):
        """Add the numeric checks to the graph: make it when the training graph is complete and no other one exists.

        Args:
            run: the open run.
            dumped: the tensors of a data dump, by name.
        """
        options = run.debug_options
        self._plan = DebugPlan(options, run.request.num_updates)
        self._dumped = dict(dumped)
        self._checks = [tf.add_check_numerics_ops()] if options.over_dump_path else []

    def run(self, session: tf.Session, fetches: Mapping[str, Any], feeds: Mapping[tf.Tensor, np.ndarray], update: int
            ) -> dict[str, Any]:
        """Run a training step.

        Args:
            session: the session.
            fetches: what to fetch, by name.
            feeds: the batch.
            update: number of this update, from 1.

        Raises:
            ZooError: over_dump is on and an op gave NaN or infinity; or the device has too little memory.
        """
        wanted: dict[str, Any] = {"values": dict(fetches), "checks": self._checks}
        if self._plan.dumps(update):
            wanted["dump"] = self._dumped
        run_options = metadata = None
        if self._plan.profiles(update):
            run_options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
            metadata = tf.RunMetadata()
        try:
            results = session.run(wanted, feeds, run_options, metadata)
        except tf.errors.ResourceExhaustedError:
            raise too_little_memory() from None
        except tf.errors.InvalidArgumentError as error:
            if not self._checks:
                raise
            raise self._plan.overflow(_found(error.message), error.message, update) from None
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


def _found(message: str) -> str:
    """CheckNumerics says `<tensor> : Tensor had NaN values`."""
    match = re.search(r"(\S+) : Tensor had ([^\n\[]*)", message)
    return f"op {match.group(1)} gave {match.group(2).strip()}" if match else message.split("\n", 1)[0]
