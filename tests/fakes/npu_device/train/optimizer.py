"""NpuLossScaleOptimizer, a subclass of Keras' own as the real one; Keras is imported when one is made."""
from __future__ import annotations

from typing import Any

from adapter_record import process
from adapter_schema import SilentlyAccepted


def NpuLossScaleOptimizer(inner_optimizer: Any, dynamic: bool = True, initial_scale: float | None = None,  # noqa: N802
                          dynamic_growth_steps: int | None = None) -> Any:
    """Wrap an optimizer.

    Raises:
        SilentlyAccepted: no device is open, so the real one would do what Keras' does.
    """
    if process.handle is None:  # STRICTER
        raise SilentlyAccepted("NpuLossScaleOptimizer before open()")
    import tensorflow as tf

    process.calls.append(("loss_scale_optimizer",))
    given = dict(initial_scale=initial_scale, dynamic_growth_steps=dynamic_growth_steps)
    given = {name: value for name, value in given.items() if value is not None}
    if not dynamic:
        raise NotImplementedError("the fake knows dynamic scaling alone")
    return tf.keras.mixed_precision.LossScaleOptimizer(inner_optimizer, **given)
