"""Recipes are sets of switches, each of which is a flag too."""
from __future__ import annotations

import dataclasses

import pytest

from common.cli import shared_flags
from common.cli.parser import FlagSet
from common.errors import FlagError


@dataclasses.dataclass(frozen=True)
class Switches:
    order: str = shared_flags.switch("old", "Which order.", ("old", "new"))
    is_exact: bool = shared_flags.switch(False, "be exact")


RECIPES = {"reference": Switches(), "corrected": Switches("new", True)}


def resolve(*arguments):
    flags = FlagSet("A program.")
    flags.training.choice("recipe", "reference", RECIPES, "which")
    shared_flags.define_switches(flags.model, Switches)
    return shared_flags.resolve_switches(RECIPES, flags.parse(list(arguments)))


def test_a_given_flag_wins_over_the_recipe():
    assert resolve() == Switches("old", False)
    assert resolve("--recipe=corrected") == Switches("new", True)
    assert resolve("--recipe=corrected", "--is_exact=false") == Switches("new", False)
    assert resolve("--order=new") == Switches("new", False)
    with pytest.raises(FlagError, match="order"):
        resolve("--order=newest")


def test_the_flags_of_some_switches():
    flags = FlagSet("A program.")
    shared_flags.define_switches(flags.model, Switches, ["order"], "the run's")
    assert list(flags.values) == ["order"] and "Which order. Default: the run's." in flags.help()


def test_the_notice_names_every_switch():
    line = shared_flags.recipe_notice("corrected", Switches("new", False))
    assert line == "Recipe: corrected, order=new, is_exact=False"
