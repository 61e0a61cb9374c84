"""Where Keras 2 and Keras 3 differ, absorbed."""
from __future__ import annotations

from typing import Any, Sequence


def build_optimizer(optimizer: Any, variables: Sequence[Any]) -> None:
    """Make an optimizer's variables now, not at its first step."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:  # Keras 2.6 has no public way that leaves the step counter at 0
        getattr(optimizer, "inner_optimizer", optimizer)._create_all_weights(variables)


def optimizer_variables(optimizer: Any) -> list[Any]:
    """All variables of an optimizer, its step counter too; their order is the same in every process of a version."""
    variables = optimizer.variables
    found = list(variables() if callable(variables) else variables)
    loss_scale = getattr(optimizer, "_loss_scale", None)  # Keras 2.6 leaves a dynamic scale out
    return found + list(getattr(loss_scale, "_weights", {}).values())


def scale_loss(optimizer: Any, loss: Any) -> Any:
    """Scale a loss as the optimizer wants; a plain optimizer wants nothing."""
    if hasattr(optimizer, "get_scaled_loss"):
        return optimizer.get_scaled_loss(loss)
    return optimizer.scale_loss(loss) if hasattr(optimizer, "dynamic_scale") else loss


def unscale(optimizer: Any, gradients: Sequence[Any]) -> Sequence[Any]:
    """Undo the scale in gradients, where the optimizer does not do it by itself when it applies them."""
    if hasattr(optimizer, "get_unscaled_gradients"):
        return optimizer.get_unscaled_gradients(gradients)
    return gradients
