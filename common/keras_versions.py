"""Where Keras 2 and Keras 3 differ, absorbed."""
from __future__ import annotations

from typing import Any, Sequence


def build_optimizer(optimizer: Any, variables: Sequence[Any]) -> None:
    """Make an optimizer's variables now, not at its first step."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:  # Keras 2.6 has no public way that leaves the step counter at 0
        optimizer._create_all_weights(variables)


def optimizer_variables(optimizer: Any) -> list[Any]:
    """All variables of an optimizer, its step counter too; their order is the same in every process of a version."""
    variables = optimizer.variables
    return list(variables() if callable(variables) else variables)
