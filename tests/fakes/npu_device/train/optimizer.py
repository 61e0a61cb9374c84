"""NpuLossScaleOptimizer, a subclass of Keras' own as the real one; Keras is imported when the class is asked for.

On the CPU nothing overflows, so this does: in the steps `process.overflows` the loss that is scaled overflows on this
rank. Where the device makes infinities, so does the loss. Where it clips (saturation), numbers stay finite, and a
status register of the device tells of the overflow.

Keras 3 has no real counterpart: the class only lets the code that is ours be tested with it.
"""
from __future__ import annotations

import functools
from typing import Any, Sequence

import numpy as np
from adapter_record import process
from adapter_schema import SilentlyAccepted, version
from npu_device import npu_device
from npu_device.distribute import all_reduce


def __getattr__(name: str) -> Any:
    if name != "NpuLossScaleOptimizer":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return _make_class()


@functools.lru_cache(maxsize=None)
def _make_class() -> type:
    import tensorflow as tf

    class NpuLossScaleOptimizer(tf.keras.mixed_precision.LossScaleOptimizer):
        """Scales the loss, and skips steps with an overflow."""

        def __init__(self, inner_optimizer: Any, dynamic: bool = True, initial_scale: float | None = None,
                     dynamic_growth_steps: int | None = None):
            if process.handle is None:  # STRICTER: the real one does what Keras' does
                raise SilentlyAccepted("NpuLossScaleOptimizer before open()")
            given = dict(initial_scale=initial_scale, dynamic_growth_steps=dynamic_growth_steps)
            super().__init__(inner_optimizer, dynamic=dynamic,
                             **{name: value for name, value in given.items() if value is not None})
            process.calls.append(("loss_scale_optimizer",))

    class OfKeras2(NpuLossScaleOptimizer):
        __doc__ = NpuLossScaleOptimizer.__doc__

        def get_scaled_loss(self, loss: Any) -> Any:
            return super().get_scaled_loss(loss) * _overflow()

        def apply_gradients(self, grads_and_vars: Any, name: str | None = None) -> Any:
            if version().name == "r1.6":  # it gives Keras 2.6 an argument that Keras 2.4 had
                raise TypeError("_apply_gradients() takes 4 positional arguments but 5 were given")
            if _makes_infinities():
                return super().apply_gradients(grads_and_vars, name)  # each rank looks at the gradients that it has
            gradients, variables = zip(*grads_and_vars)
            is_finite = _is_finite_on_all_ranks(gradients)
            update = _updated_scale(self._loss_scale, is_finite)
            applied = tf.cond(is_finite, lambda: tf.group(self._optimizer.apply_gradients(zip(gradients, variables))),
                              lambda: tf.group(self._optimizer.iterations.assign_add(1, read_value=False)))
            return tf.group(update, applied)

    class OfKeras3(NpuLossScaleOptimizer):
        __doc__ = NpuLossScaleOptimizer.__doc__

        def scale_loss(self, loss: Any) -> Any:
            return super().scale_loss(loss) * _overflow()

    is_keras_2 = hasattr(tf.keras.optimizers.SGD(), "get_gradients")
    if not is_keras_2 and not _makes_infinities():
        raise NotImplementedError("Keras 3 on a device that clips")
    return OfKeras2 if is_keras_2 else OfKeras3


def _makes_infinities() -> bool:
    return version().knows_inf_nan and npu_device.is_inf_nan_enabled()


_steps: list[int] = []  # of those that were run
_register: list[bool] = []  # the device's float status


def _overflow() -> Any:
    """Infinity in a step that overflows on a device that makes infinities, else 1."""
    import tensorflow as tf

    makes_infinities = _makes_infinities()

    def factor() -> np.float32:
        _steps.append(len(_steps) + 1)
        if _steps[-1] not in process.overflows:
            return np.float32(1)
        _register.append(True)
        return np.float32(np.inf if makes_infinities else 1)

    result = tf.numpy_function(factor, [], tf.float32)
    result.set_shape([])
    return result


def _is_finite_on_all_ranks(gradients: Sequence[Any]) -> Any:
    """Read and clear the status, after gradients are there, and sum it up over the ranks."""
    import tensorflow as tf

    def read() -> np.int32:
        status = np.int32(len(_register))
        _register.clear()
        return status

    with tf.control_dependencies([gradient for gradient in gradients if gradient is not None]):
        status = tf.numpy_function(read, [], tf.int32)
    status.set_shape([])
    if process.handle.workers_num > 1:
        status = all_reduce([status], "sum", fusion=0)[0]
    return tf.equal(status, 0)


def _updated_scale(scale: Any, is_finite: Any) -> Any:
    """Halve the scale after an overflow; double it after enough steps without."""
    import tensorflow as tf

    def grow() -> Any:
        grows = scale.counter + 1 >= scale.growth_steps
        larger = tf.where(grows, scale.current_loss_scale * scale.multiplier, scale.current_loss_scale)
        return tf.group(scale.current_loss_scale.assign(larger),
                        scale.counter.assign(tf.where(grows, tf.zeros_like(scale.counter), scale.counter + 1)))

    def shrink() -> Any:
        return tf.group(scale.counter.assign(0),
                        scale.current_loss_scale.assign(tf.maximum(scale.current_loss_scale / scale.multiplier, 1)))

    return tf.cond(is_finite, grow, shrink)
