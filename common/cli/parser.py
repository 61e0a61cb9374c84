"""Flags: how a command line is defined and read.

absl defines and checks the flags; each `main(argv)` has its own FlagValues. Before absl sees the command line it is
brought into one form, so that `--use_amp True`, `--use_amp=yes` and a bare `--use_amp` mean the same, and an empty
value means unset.
"""
from __future__ import annotations

import difflib
import math
import sys
from typing import Iterable

from absl import flags as absl_flags
from absl.flags import FlagValues

from common.cli.program import HelpRequested
from common.errors import FlagError

_TRUE_WORDS = {"true", "yes", "t", "y", "1"}
_FALSE_WORDS = {"false", "no", "f", "n", "0"}


class FlagSet:
    """The flags of one program: definitions, then one `parse`."""

    def __init__(self, description: str):
        self.description = description
        self.values = FlagValues()
        self._aliases: dict[str, str] = {}
        self._without_effect: dict[str, str] = {}

    def string(self, name: str, default: str | None, text: str, aliases: Iterable[str] = ()) -> None:
        absl_flags.DEFINE_string(name, default, text, flag_values=self.values)
        self._alias(name, aliases)

    def integer(self, name: str, default: int | None, text: str, minimum: int = 0, maximum: int = 2 ** 31 - 1,
                aliases: Iterable[str] = ()) -> None:
        absl_flags.DEFINE_integer(name, default, text, lower_bound=minimum, upper_bound=maximum,
                                  flag_values=self.values)
        self._alias(name, aliases)

    def number(self, name: str, default: float | None, text: str, minimum: float = 0.0) -> None:
        absl_flags.DEFINE_float(name, default, text, lower_bound=minimum, upper_bound=sys.float_info.max,
                                flag_values=self.values)
        absl_flags.register_validator(name, lambda value: value is None or not math.isnan(value),
                                      f"--{name} is no number", flag_values=self.values)

    def boolean(self, name: str, default: bool | None, text: str) -> None:
        absl_flags.DEFINE_boolean(name, default, text, flag_values=self.values)

    def choice(self, name: str, default: str | None, choices: Iterable[str], text: str) -> None:
        absl_flags.DEFINE_enum(name, default, list(choices), text, flag_values=self.values)

    def without_effect(self, name: str, reason: str, aliases: Iterable[str] = ()) -> None:
        """Accept a flag that does nothing here; `warnings` says so when it is given.

        A flag that is already defined keeps its definition.
        """
        if name not in self.values:
            self.string(name, None, f"accepted, no effect: {reason}", aliases)
        self._without_effect[name] = reason

    def alias(self, name: str, aliases: Iterable[str]) -> None:
        """Give further names to a flag that a shared function defines."""
        self._alias(name, aliases)

    def warnings(self) -> list[str]:
        """One line for each flag that was given and has no effect."""
        return [
            f"Warning: --{name} has no effect: {reason}"
            for name, reason in self._without_effect.items()
            if self.values[name].present
        ]

    def parse(self, arguments: list[str]) -> FlagValues:
        """Read a command line (without the program's name).

        Returns:
            The flag values, as attributes. `values[name].present` tells whether a flag was given.

        Raises:
            HelpRequested: `-h` or `--help` is among the arguments, whatever the others are.
            FlagError: an unknown flag, a left-over positional argument or a value that does not fit.
        """
        if any(argument in ("-h", "--help") for argument in arguments):
            raise HelpRequested(self.help())
        try:
            self.values(["program", *self._normalised(arguments)])
        except absl_flags.Error as error:
            raise FlagError(str(error).split("\n")[0]) from None
        return self.values

    def split_known(self, arguments: list[str]) -> tuple[list[str], list[str]]:
        """Part a command line into flags that are known here and the rest, for platforms that add flags of their own.

        Returns:
            The known flags as `--name=value`, and the arguments that were left out.
        """
        known: list[str] = []
        unknown: list[str] = []
        queue = list(arguments)
        while queue:
            argument = queue.pop(0)
            name = argument[2:].partition("=")[0] if argument.startswith("--") else ""
            target = known if self._aliases.get(name, name) in self.names() else unknown
            target.append(argument)
            if "=" not in argument and queue and not queue[0].startswith("--"):
                target.append(queue.pop(0))
        return self._normalised(known), unknown

    def names(self) -> list[str]:
        """Names of the flags, without aliases."""
        return [name for name in self.values if name not in _ABSL_OWN_FLAGS]

    def help(self) -> str:
        """The text of `--help`."""
        lines = [self.description.strip(), "", "flags (--flag=value or --flag value):"]
        for name in sorted(self.names()):
            flag = self.values[name]
            aliases = [alias for alias, target in self._aliases.items() if target == name]
            default = "" if flag.default is None else f" (default {flag.default})"
            also = f"; also --{', --'.join(aliases)}" if aliases else ""
            lines.append(f"  --{name}: {flag.help}{default}{also}")
        return "\n".join(lines)

    def _alias(self, name: str, aliases: Iterable[str]) -> None:
        self._aliases.update(dict.fromkeys(aliases, name))

    def _canonical(self, name: str) -> str:
        name = self._aliases.get(name, name)
        known = self.names()
        if name in known:
            return name
        near = difflib.get_close_matches(name, known + list(self._aliases), n=1)
        hint = f"; did you mean --{near[0]}?" if near else ""
        raise FlagError(f"unknown flag --{name}{hint} (--help lists all)")

    def _normalised(self, arguments: list[str]) -> list[str]:
        """Bring every argument into the form --name=value; the last of several wins, an empty value unsets."""
        chosen: dict[str, str] = {}
        queue = list(arguments)
        while queue:
            argument = queue.pop(0)
            if not argument.startswith("--") or argument == "--":
                raise FlagError(f"unexpected argument {argument!r}: flags are written --flag=value (--help lists all)")
            name, equals, value = argument[2:].partition("=")
            name = self._canonical(name)
            is_boolean = self.values[name].boolean
            if not equals:
                value = self._separate_value(name, is_boolean, queue)
            if is_boolean and value:
                value = _boolean_word(name, value)
            chosen.pop(name, None)
            if value:
                chosen[name] = value
        return [f"--{name}={value}" for name, value in chosen.items()]

    @staticmethod
    def _separate_value(name: str, is_boolean: bool, queue: list[str]) -> str:
        if is_boolean:
            follows = bool(queue) and queue[0].lower() in _TRUE_WORDS | _FALSE_WORDS
            return queue.pop(0) if follows else "true"
        if queue and not queue[0].startswith("--"):
            return queue.pop(0)
        if name == "data_path":  # a bare --data_path is the missing-data error, not a wrong flag
            return ""
        raise FlagError(f"--{name} needs a value: --{name}=VALUE")


_ABSL_OWN_FLAGS = set(FlagValues()) | {"flagfile", "undefok", "help", "helpfull", "helpshort", "helpxml"}


def _boolean_word(name: str, word: str) -> str:
    if word.lower() in _TRUE_WORDS:
        return "true"
    if word.lower() in _FALSE_WORDS:
        return "false"
    raise FlagError(f"--{name}={word}: expected true or false (yes, no, t, f, y, n, 1, 0)")
