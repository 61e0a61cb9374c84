"""Loss scaling of graph models: the scale stays where it begins, and the calls are checked."""
from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from adapter_record import process
from adapter_schema import SilentlyAccepted


class ExponentialUpdateLossScaleManager:
    """How the scale moves."""

    def __init__(self, init_loss_scale: float, incr_every_n_steps: int, decr_every_n_nan_or_inf: int = 2,
                 incr_ratio: float = 2, decr_ratio: float = 0.8):
        if tf.compat.v1.get_default_graph()._control_dependencies_for_inputs([]):  # "Placeholder not support"
            raise SilentlyAccepted("ExponentialUpdateLossScaleManager within control dependencies")
        self._scale = tf.constant(float(init_loss_scale))
        self.settings = (init_loss_scale, incr_every_n_steps, decr_every_n_nan_or_inf, incr_ratio, decr_ratio)

    def get_loss_scale(self) -> Any:
        """The scale."""
        return self._scale


class NPULossScaleOptimizer(tf.compat.v1.train.Optimizer):
    """Scales the loss, and divides the gradients before they are applied."""

    def __init__(self, opt: Any, loss_scale_manager: ExponentialUpdateLossScaleManager, is_distributed: bool = False):
        super().__init__(use_locking=False, name="NPULossScaleOptimizer")
        if int(os.environ.get("RANK_SIZE") or 1) > 1 and not is_distributed:
            raise SilentlyAccepted("NPULossScaleOptimizer of several ranks without is_distributed=True")
        process.loss_scales.append(loss_scale_manager.settings)
        self._inner, self._scale = opt, float(loss_scale_manager.settings[0])

    def compute_gradients(self, loss: Any, *arguments: Any, **options: Any) -> list:
        """As the inner optimizer's, through the scaled loss."""
        return [(gradient / self._scale, variable) for gradient, variable in
                self._inner.compute_gradients(loss * self._scale, *arguments, **options)]

    def apply_gradients(self, grads_and_vars: list, global_step: Any = None, name: str | None = None) -> Any:
        """As the inner optimizer's; the real one skips a step with an overflow, and leaves global_step then."""
        return self._inner.apply_gradients(grads_and_vars, global_step, name)
