"""over_dump, data_dump and profiling of Keras models without an NPU; on an NPU the adapter does all three."""
from __future__ import annotations

import contextlib
import re
from typing import Any, Callable, Iterator, Mapping

import tensorflow as tf

from common.run.debug_plan import DebugPlan, too_little_memory
from common.run.opening import Run


@contextlib.contextmanager
def debugged(run: Run) -> Iterator[StepDebugger]:
    """Debug training steps in a block; functions that are traced in it have numeric checks if the flags ask for them.

    Args:
        run: the open run.
    """
    checks = run.debug_options.over_dump_path is not None
    if checks:
        tf.debugging.enable_check_numerics()
    try:
        yield StepDebugger(run)
    finally:
        if checks:
            tf.debugging.disable_check_numerics()


class StepDebugger:
    """Runs training steps, with the checks, dumps and profiles that the flags ask for."""

    def __init__(self, run: Run):
        self._plan = DebugPlan(run.debug_options, run.request.num_updates)
        self._checks = run.debug_options.over_dump_path is not None

    def run(self, step: Callable[[bool], tuple[Any, Mapping[str, Any]]], update: int) -> Any:
        """Run a training step.

        Args:
            step: makes the update; told whether tensors are to be dumped, returns its result and those tensors by
                name.
            update: number of this update, from 1.

        Returns:
            The step's result.

        Raises:
            ZooError: over_dump is on and an op gave NaN or infinity; or the device has too little memory.
        """
        dumps, profiles = self._plan.dumps(update), self._plan.profiles(update)
        if profiles:
            tf.profiler.experimental.start(self._plan.options.profiling_path)
        try:
            result, tensors = step(dumps)
        except tf.errors.ResourceExhaustedError:
            raise too_little_memory() from None
        except tf.errors.InvalidArgumentError as error:
            if not self._checks:
                raise
            raise self._plan.overflow(_found(error.message), error.message, update) from None
        finally:
            if profiles:
                tf.profiler.experimental.stop()
        if dumps:
            self._plan.write_dump({name: tf.convert_to_tensor(tensor).numpy() for name, tensor in tensors.items()},
                                  update)
        return result


def _found(message: str) -> str:
    """TensorFlow says `Detected Infinity or NaN in output 0 of graph op "Log" (# of outputs: 1)`."""
    match = re.search(r"Detected (.*?) in output \d+ of \w+ op \"(.*?)\"", message)
    return f"op {match.group(2)} gave {match.group(1)}" if match else message.strip().split("\n")[0]
