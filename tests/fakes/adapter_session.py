"""Sessions under a graph adapter: options are checked, then the session runs on the CPU.

As the real adapters do, importing their npu_init replaces Session.__init__ for the whole process. The real ones read
the options when a session's first graph is optimised; the fakes do when it is made.
"""
from __future__ import annotations

import functools
import os
import sys
from typing import Any, Callable

import adapter_schema
import numpy as np
from adapter_record import SessionRecord, process
from adapter_schema import AdapterError, Problem, ProcessAborted, SilentlyAccepted

# GE is initialised once, with what the first session says; dumps are options of a session.
_OF_THE_SESSION = {"enable_dump", "enable_dump_debug", "dump_path", "dump_step", "dump_mode", "dump_debug_mode"}
_KIND_IS_CHECKED = {"jit_compile", "shape_generalization_mode"}
_restores: list[Callable[[], Any]] = []


def install(needs_enable_v1: bool) -> None:
    """Replace the sessions of this process.

    Args:
        needs_enable_v1: npu_device.compat.enable_v1() must come before the first session.
    """
    if _restores:
        return
    import tensorflow.compat.v1 as tf
    from tensorflow.python.client import session as sessions

    # for uninstall: enable_v1() makes variables ref variables
    _restores.append(tf.enable_resource_variables if tf.resource_variables_enabled() else
                     tf.disable_resource_variables)
    for session_class in (sessions.Session, sessions.InteractiveSession):
        _replace(session_class, "__init__", _make_init(session_class.__init__, needs_enable_v1))
    base = sessions.BaseSession
    _replace(base, "run", _make_run(base.run))
    _replace(base, "close", _make_close(base.close))
    _replace(base, "__del__", _make_del(base.__del__))


def uninstall() -> None:
    """Give this process its own sessions back; the real adapters have nothing like it."""
    while _restores:
        _restores.pop()()


def _replace(owner: type, name: str, replacement: Any) -> None:
    _restores.append(functools.partial(setattr, owner, name, getattr(owner, name)))
    setattr(owner, name, replacement)


def _make_init(original: Any, needs_enable_v1: bool) -> Any:
    def __init__(self, target="", graph=None, config=None):
        self._session = None  # for __del__, should the options be refused
        if needs_enable_v1 and not process.is_v1_enabled:
            raise SilentlyAccepted("a session before npu_device.compat.enable_v1()")
        self.fake_npu_record = _check(config)
        process.sessions.append(self.fake_npu_record)
        on_cpu = type(config)()
        on_cpu.CopyFrom(config)
        del on_cpu.graph_options.rewrite_options.custom_optimizers[:]
        on_cpu.inter_op_parallelism_threads = 32  # collectives wait in them
        original(self, target, graph, on_cpu)

    return __init__


def _make_run(original: Any) -> Any:
    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        record = getattr(self, "fake_npu_record", None)
        if record is not None:
            _compile(record, fetches, feed_dict or {})
        return original(self, fetches, feed_dict, options, run_metadata)

    return run


def _make_close(original: Any) -> Any:
    def close(self):
        record = getattr(self, "fake_npu_record", None)
        if record is not None:
            record.is_closed = True
        return original(self)

    return close


def _make_del(original: Any) -> Any:
    def __del__(self):
        self.fake_npu_record = None  # what follows is not the program closing its session
        original(self)

    return __del__


def _check(config: Any) -> SessionRecord:
    version = adapter_schema.version()
    if config is None:
        raise SilentlyAccepted("a session without a ConfigProto: the adapter gives it an NpuOptimizer of its own")
    rewrite = config.graph_options.rewrite_options
    names = [optimizer.name for optimizer in rewrite.custom_optimizers]
    if names != ["NpuOptimizer"]:
        raise SilentlyAccepted(f"custom optimizers {names}: expected exactly one NpuOptimizer")
    for name in ("remapping", "memory_optimization"):
        if getattr(rewrite, name) != rewrite.OFF:
            raise SilentlyAccepted(f"rewrite_options.{name} is not OFF")
    parameters = {name: _read(name, value, version)
                  for name, value in rewrite.custom_optimizers[0].parameter_map.items()}
    if parameters.get("use_off_line") is False:
        raise SilentlyAccepted("use_off_line is false: the session runs on the host")
    problem = next(adapter_schema.problems(parameters, version), None)
    if problem:
        raise _exception(problem)
    adapter_schema.check_session_ranks(os.environ)
    _check_against_first(parameters)
    return SessionRecord(config, parameters, dict(os.environ))


def _read(name: str, value: Any, version: adapter_schema.Version) -> bool | int | str:
    key = adapter_schema.session_keys(version).get(name)
    if key is None:
        raise SilentlyAccepted(f"{name}: no option of NpuOptimizer {version.name}")
    given = value.WhichOneof("value")
    if given != key.field:
        text = f"{name} is in .{given}, NpuOptimizer {version.name} reads .{key.field}"
        raise AdapterError(text) if name in _KIND_IS_CHECKED else SilentlyAccepted(text)
    content = getattr(value, key.field)
    if isinstance(content, bytes):
        content = content.decode("utf-8")
    if key.allowed is not None and content not in key.allowed:
        text = f"{name}={content!r}: NpuOptimizer {version.name} knows {key.allowed}"
        raise ProcessAborted(text) if key.aborts else AdapterError(text)
    return content


def _exception(problem: Problem) -> BaseException:
    kinds = {"ignores": SilentlyAccepted, "refuses": AdapterError, "aborts": ProcessAborted}
    return kinds[problem.graph_adapter](problem.text)


def _check_against_first(parameters: dict[str, bool | int | str]) -> None:
    if not process.sessions:
        return
    first = process.sessions[0].parameters
    for name in sorted((set(first) | set(parameters)) - _OF_THE_SESSION):
        if first.get(name) != parameters.get(name):
            raise SilentlyAccepted(f"{name} differs from the first session's, which holds for the process: "
                                   f"{parameters.get(name)!r} and {first.get(name)!r}")


def _compile(record: SessionRecord, fetches: Any, feeds: dict) -> None:
    """Print the adapter's line for a graph that was not run before; shapes that change come as new graphs."""
    import tensorflow as tf

    names = sorted(str(getattr(fetch, "name", fetch)) for fetch in tf.nest.flatten(fetches))
    shapes = sorted((str(getattr(feed, "name", feed)), np.shape(value)) for feed, value in feeds.items())
    signature = (tuple(names), tuple(shapes))
    if signature in record.signatures:
        return
    record.signatures.append(signature)
    process.num_graphs += 1
    # An INFO line of C++, to file descriptor 2. The number after the file's name differs from version to version.
    if adapter_schema.version().logs_compilation and os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") in ("", "0"):
        sys.stderr.flush()
        os.write(2, b"I tf_adapter/kernels/geop_npu.cc:1057] The model has been compiled on the Ascend AI processor, "
                    b"current graph id is: %d\n" % process.num_graphs)
