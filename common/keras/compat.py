"""Differences between Keras 2 and Keras 3."""
from __future__ import annotations

from typing import Any, Sequence


def build_optimizer(optimizer: Any, variables: Sequence[Any]) -> None:
    """Create the variables of an optimizer now, not at its first step."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:  # Keras 2.6 has no public way that leaves the step counter at 0
        getattr(optimizer, "inner_optimizer", optimizer)._create_all_weights(variables)


def optimizer_variables(optimizer: Any) -> list[Any]:
    """Return all variables of an optimizer, with its step counter; within a version their order is always the same."""
    variables = optimizer.variables
    loss_scale = getattr(optimizer, "_loss_scale", None)  # Keras 2.6 omits a dynamic scale
    return [*(variables() if callable(variables) else variables), *getattr(loss_scale, "_weights", {}).values()]


def scale_loss(optimizer: Any, loss: Any) -> Any:
    """Scale a loss, if the optimizer scales losses."""
    if hasattr(optimizer, "get_scaled_loss"):
        return optimizer.get_scaled_loss(loss)
    return optimizer.scale_loss(loss) if hasattr(optimizer, "dynamic_scale") else loss


def loss_scale_row(optimizer: Any) -> dict[str, float]:
    """Return the optimizer's loss scale as a value of a row of metrics, nothing if the optimizer scales no losses."""
    scale = getattr(optimizer, "loss_scale", getattr(optimizer, "dynamic_scale", None))
    return {} if scale is None else {"loss_scale": float(scale)}


def unscale(optimizer: Any, gradients: Sequence[Any]) -> Sequence[Any]:
    """Undo the scale in gradients, unless the optimizer does it itself when it applies them."""
    if hasattr(optimizer, "get_unscaled_gradients"):
        return optimizer.get_unscaled_gradients(gradients)
    return gradients
