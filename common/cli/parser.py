"""Flags: their definition, the command line, and --help.

absl holds definitions and values; every call of a program has its own. This module splits the command line, so that
`--use_amp True`, `--use_amp=yes` and a bare `--use_amp` mean the same, and an empty value leaves a flag unset.
"""
from __future__ import annotations

import difflib
import itertools
import math
import textwrap
from typing import Any, Iterable

from absl import flags as absl_flags
from absl.flags import FlagValues

from common.cli.program import HelpRequested
from common.console import WIDTH
from common.errors import FlagError

REQUIRED = "required"  # stands for the default of a flag that must be given
_BOOLEANS = ("true", "yes", "t", "y", "1", "false", "no", "f", "n", "0")
_SYNTAX = ("Flags are written --flag=value or --flag value. A bare boolean flag means true; an empty value leaves a "
           "flag unset.")
_SYNTAX_OF_PATHS = ("A flag with PATH,... takes files and folders, separated by commas or one after another, as a "
                    "shell expands *: --flag=A,B or --flag A B. An existing path may contain commas.")
_BETWEEN_PATHS = "\0"  # which no path contains


class Group:
    """A group of flags in --help, in the order of their definition; `defaults` are those that --help shows, by name.

    Methods take name, default and text of a flag. `unset` says what a default of None means.
    """

    def __init__(self, title: str, values: FlagValues):
        self.title = title
        self.defaults: dict[str, str] = {}
        self._values = values

    def string(self, name: str, default: str | None, text: str, unset: str = "none") -> None:
        self._define(name, absl_flags.ArgumentParser(), default, text, unset)

    def integer(self, name: str, default: int | None, text: str, minimum: int = 0, maximum: int = 2 ** 31 - 1,
                unset: str = "none") -> None:
        self._define(name, absl_flags.IntegerParser(minimum, maximum), default, text, unset)

    def number(self, name: str, default: float | None, text: str, minimum: float | None = 0.0, unset: str = "none",
               maximum: float | None = None) -> None:
        self._define(name, _FiniteParser(minimum, maximum), default, text, unset)

    def boolean(self, name: str, default: bool | None, text: str, unset: str = "none") -> None:
        self._define(name, _BooleanParser(), default, text, unset)

    def choice(self, name: str, default: str | None, choices: Iterable[str], text: str, unset: str = "none") -> None:
        self._define(name, absl_flags.EnumParser(list(choices)), default, text, unset)

    def paths(self, name: str, text: str, unset: str = REQUIRED) -> None:
        """Define a flag whose value is a list of files and folders, see `inference.find_paths`."""
        self._define(name, _PathsParser(), None, text, unset)

    def _define(self, name: str, parser: Any, default: Any, text: str, unset: str) -> None:
        absl_flags.DEFINE(parser, name, default, text, flag_values=self._values)
        self.defaults[name] = unset if default is None else str(default)


class FlagSet:
    """The flags of one program, in groups."""

    def __init__(self, description: str):
        self.description = description
        self.values = FlagValues()
        self.data = Group("Data and results", self.values)
        self.training = Group("Training", self.values)
        self.model = Group("Model and loss", self.values)
        self.evaluation = Group("Evaluation", self.values)
        self.accelerator = Group("Accelerator", self.values)
        self.diagnosis = Group("Diagnosis", self.values)
        self.ignored = Group("Accepted without effect", self.values)  # the text of a flag says why
        self.groups = (self.data, self.training, self.model, self.evaluation, self.accelerator, self.diagnosis,
                       self.ignored)
        self._aliases: dict[str, str] = {}

    def alias(self, name: str, *aliases: str) -> None:
        """Add names of a flag."""
        self._aliases.update(dict.fromkeys(aliases, name))

    def aliases(self, name: str) -> list[str]:
        """Return the other names of a flag."""
        return [alias for alias, target in self._aliases.items() if target == name]

    def warnings(self) -> list[str]:
        """Return a line for each given flag that has no effect."""
        given = [self.values[name] for name in self.ignored.defaults if self.values[name].present]
        return [f"Warning: --{flag.name} has no effect. {flag.help}" for flag in given]

    def parse(self, arguments: list[str], ignored: list[str] | None = None) -> FlagValues:
        """Parse a command line (without the program's name); raise HelpRequested if `-h` or `--help` is anywhere in it.

        Return the values of the flags as attributes; `values[name].present` is true for a flag that was given. Raises
        FlagError if a flag has a wrong value or is required and missing, and as `words`.
        """
        if "-h" in arguments or "--help" in arguments:
            raise HelpRequested(self.help())
        for name, word in self.words(arguments, ignored).items():
            try:
                self.values[name].parse(word)
            except absl_flags.IllegalFlagValueError:
                raise FlagError(f"--{name}={word}: expected {_expected(self.values[name].parser)}") from None
        required = [name for group in self.groups for name, default in group.defaults.items() if default == REQUIRED]
        for flag in map(self.values.__getitem__, required):
            if flag.value is None and flag.name != "data_path":  # shared_flags.find_path has its own words
                raise FlagError(f"--{flag.name} is needed: {flag.help[0].lower()}{flag.help[1:-1]}")
        self.values.mark_as_parsed()
        return self.values

    def words(self, arguments: list[str], ignored: list[str] | None = None) -> dict[str, str]:
        """Split a command line into the unparsed values of flags, by name. The last of several values wins.

        Raises FlagError if a flag lacks a value or is unknown, or an argument is not a flag; unknown flags and other
        arguments are appended to `ignored` instead, if there is such a list.
        """
        words: dict[str, str] = {}
        queue = list(arguments)
        while queue:
            argument = queue.pop(0)
            given, equals, word = argument[2:].partition("=")
            name, is_flag = self._aliases.get(given, given), argument.startswith("--") and argument != "--"
            is_known = is_flag and name in self.values
            if ignored is not None and not is_known:
                ignored.append(argument)
                continue
            if not is_flag:
                raise FlagError(f"unexpected argument {argument!r}: flags are written --flag=value (--help lists all)")
            if not is_known:
                near = difflib.get_close_matches(given, [*self.values, *self._aliases], n=1)
                hint = f"; did you mean --{near[0]}?" if near else ""
                raise FlagError(f"unknown flag --{given}{hint} (--help lists all)")
            words.pop(name, None)
            word = word if equals else self._next_word(name, queue)
            if word:
                words[name] = word
        return words

    def _next_word(self, name: str, queue: list[str]) -> str:
        """Take the value of a flag without `=` from the arguments that follow."""
        if isinstance(self.values[name].parser, _BooleanParser):
            return queue.pop(0) if queue and queue[0].lower() in _BOOLEANS else "true"
        if isinstance(self.values[name].parser, _PathsParser) and queue and not queue[0].startswith("--"):
            following = list(itertools.takewhile(lambda word: not word.startswith("--"), queue))
            del queue[:len(following)]
            return _BETWEEN_PATHS.join(following)
        if queue and not queue[0].startswith("--"):
            return queue.pop(0)
        if name == "data_path":  # a bare --data_path is the missing-data error, not a wrong flag
            return ""
        raise FlagError(f"--{name} needs a value: --{name}=VALUE")

    def help(self) -> str:
        """Return the text of --help."""
        takes_paths = any(isinstance(self.values[name].parser, _PathsParser) for name in self.values)
        syntax = f"{_SYNTAX} {_SYNTAX_OF_PATHS}" if takes_paths else _SYNTAX
        paragraphs = [text if text.startswith(" ") else textwrap.fill(text, WIDTH, break_on_hyphens=False)
                      for text in (*self.description.strip().split("\n\n"), syntax)]
        for group in self.groups:
            if group.defaults:
                paragraphs.append("\n".join([f"{group.title}:", *(
                    self._explain(name, default if group is not self.ignored else "")
                    for name, default in group.defaults.items())]))
        return "\n\n".join(paragraphs)

    def _explain(self, name: str, default: str) -> str:
        flag, also = self.values[name], ", ".join(f"--{alias}" for alias in self.aliases(name))
        head, text = f"--{name}{_value_name(flag.parser)}" + (f" (also {also})" if also else ""), flag.help
        if len(head) > WIDTH and not also:
            head, text = f"--{name}=VALUE", f"{text} The value is {_expected(flag.parser)}."
        if default:
            text += f" {default[0].upper()}{default[1:]}." if default.startswith(REQUIRED) else f" Default: {default}."
        return "\n".join(textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=" " * 6,
                                       break_on_hyphens=False) for line, indent in ((head, "  "), (text, " " * 6)))


class _FiniteParser(absl_flags.FloatParser):
    def is_outside_bounds(self, val: float) -> bool:
        return not math.isfinite(val) or super().is_outside_bounds(val)


class _PathsParser(absl_flags.ArgumentParser):
    syntactic_help = "files or folders"

    def parse(self, argument: Any) -> list[str]:
        return argument.split(_BETWEEN_PATHS)

    def flag_type(self) -> str:
        return "paths"


class _BooleanParser(absl_flags.BooleanParser):
    syntactic_help = "true or false (yes, no, t, f, y, n, 1, 0)"

    def parse(self, argument: Any) -> bool:
        return _BOOLEANS.index(str(argument).lower()) < len(_BOOLEANS) // 2


def _expected(parser: Any) -> str:
    return parser.syntactic_help or f"one of {', '.join(parser.enum_values)}"


def _value_name(parser: Any) -> str:
    """Return what --help shows after the name of a flag."""
    names = {"bool": "", "int": "=INTEGER", "float": "=NUMBER", "string": "=VALUE", "paths": "=PATH,..."}
    return f"={'|'.join(parser.enum_values)}" if hasattr(parser, "enum_values") else names[parser.flag_type()]
