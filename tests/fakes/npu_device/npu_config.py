"""npu_device.global_options(): the same behaviour as the recorded one, to the wording of its errors.

What is stricter than the real adapter is checked by `open()`, but for the refusal to be changed after it.
"""
from __future__ import annotations

from typing import Any

import adapter_schema
from adapter_schema import SilentlyAccepted, Version


class OptionValue:
    """An option: what reading `global_options().<name>` gives."""

    def __init__(self, recorded: dict[str, Any], has_type_errors: bool):
        self.default = recorded["default"]
        self.optional = recorded["allowed"]
        self.is_deprecated = recorded["deprecated"]
        self.replacement = recorded.get("replacement")
        self._has_type_errors = has_type_errors
        self._value = self.default

    @property
    def value(self) -> Any:
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        if self.optional is not None and value not in self.optional:
            expected = type(self.default)
            if self._has_type_errors and self.default is not None and not isinstance(value, expected):
                raise TypeError(f"Expected {expected.__name__}, got {type(value).__name__}")
            raise ValueError(f"'{value}' not in optional list {self.optional}")
        self._value = value


class NpuBaseConfig:
    """Options and sub-configs by name."""

    def __init__(self, paths: dict[str, dict[str, Any]], version: Version):
        """Make the options of one level.

        Args:
            paths: recorded options by their path from here, "dump_config.dump_path".
            version: the adapter's version.
        """
        object.__setattr__(self, "_is_frozen", False)
        names = list(dict.fromkeys(path.split(".")[0] for path in paths))
        object.__setattr__(self, "_names", names)
        for name in names:
            if name in paths:
                option: OptionValue | NpuBaseConfig = OptionValue(paths[name], version.has_type_errors)
            else:
                inner = {path.partition(".")[2]: recorded for path, recorded in paths.items()
                         if path.startswith(f"{name}.")}
                option = _CLASSES.get(name, NpuBaseConfig)(inner, version)
            object.__setattr__(self, name, option)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_frozen:  # STRICTER: the real one takes it, and it does nothing
            raise SilentlyAccepted(f"{name} is set after open()")
        if name not in self._names:
            raise ValueError(f"{type(self).__name__} has no option {name}, all options {self._names}")
        option = getattr(self, name)
        if isinstance(option, OptionValue):
            option.value = value
        else:
            object.__setattr__(self, name, value)  # as the real one: the sub-config's options are gone

    def as_dict(self) -> dict[str, str]:
        """The options as they are handed on to C++, in one namespace."""
        options = {}
        for name in self._names:
            option = getattr(self, name)
            if isinstance(option, NpuBaseConfig):
                options.update(option.as_dict())
            elif isinstance(option, OptionValue) and option.value is not None:
                options[name] = _as_passed(option.value)
                if option.is_deprecated:
                    instead = f" Please use '{option.replacement}' instead." if option.replacement else ""
                    print(f"[warning][tf_adapter] Option '{name}' is deprecated and will be removed in future version."
                          f"{instead}")
        return options

    def freeze(self) -> dict[str, Any]:
        """Let nothing be set any more.

        Returns:
            The values that are set, by name in one namespace.

        Raises:
            SilentlyAccepted: a sub-config is gone, or a deprecated option is set.
        """
        values = {}
        for name in self._names:
            option = getattr(self, name)
            if isinstance(option, NpuBaseConfig):
                values.update(option.freeze())
            elif not isinstance(option, OptionValue):
                raise SilentlyAccepted(f"{name}={option!r} replaces a whole sub-config")
            elif option.value is not None:
                if option.is_deprecated:
                    raise SilentlyAccepted(f"{name} is deprecated")
                values[name] = option.value
        object.__setattr__(self, "_is_frozen", True)
        return values


class NpuConfig(NpuBaseConfig):
    pass


class NpuDumpConfig(NpuBaseConfig):
    pass


class NpuAoeConfig(NpuBaseConfig):
    pass


class NpuProfilingConfig(NpuBaseConfig):
    pass


_CLASSES = {"dump_config": NpuDumpConfig, "aoe_config": NpuAoeConfig, "profiling_config": NpuProfilingConfig}


def _as_passed(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def make() -> NpuConfig:
    """The options of a process that begins."""
    version = adapter_schema.version()
    return NpuConfig(adapter_schema.snapshot(version)["options"], version)
