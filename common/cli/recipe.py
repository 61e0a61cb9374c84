"""Recipes: named sets of switches. Every switch is also a flag, which wins over the recipe.

A model lists its switches in a frozen dataclass whose fields are made with `switch`, and its recipes as
`RECIPES = {"reference": Switches(), "corrected": Switches(...)}`.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Collection, Iterable, Mapping

from common.cli.parser import FlagValues, Group


def switch(reference: Any, text: str, choices: Iterable[str] = ()) -> Any:
    """Declare a switch by its value in the reference recipe, the help of its flag, and choices unless it is a bool."""
    return dataclasses.field(default=reference, metadata={"text": text, "choices": tuple(choices)})


def define(group: Group, switches: type, names: Collection[str] = (), unset: str = "the recipe's") -> None:
    """Define the flags of all or some switches; `unset` says in the help whose value holds without a flag."""
    for field in dataclasses.fields(switches):
        if names and field.name not in names:
            continue
        text, choices = field.metadata["text"], field.metadata["choices"]
        if choices:
            group.choice(field.name, None, choices, text, unset)
        else:
            group.boolean(field.name, None, text, unset)


def resolve(recipes: Mapping[str, Any], flags: FlagValues) -> Any:
    """Return the switches of --recipe, those that were given as flags replaced."""
    switches = recipes[flags.recipe]
    values = {field.name: flags[field.name].value for field in dataclasses.fields(switches)}
    return dataclasses.replace(switches, **{name: value for name, value in values.items() if value is not None})


def from_identity(kind: Any, identity: Mapping[str, Any]) -> Any:
    """Return the switches or settings of a run, with defaults for those that its identity lacks."""
    return kind(**{field.name: identity[field.name] for field in dataclasses.fields(kind) if field.name in identity})


def notice(recipe: str, switches: Any) -> str:
    """Return the line that tells which switches are in effect."""
    return f"Recipe: {recipe}, {', '.join(f'{name}={value}' for name, value in dataclasses.asdict(switches).items())}"
