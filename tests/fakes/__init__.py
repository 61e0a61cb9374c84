"""Strict fakes of the NPU adapters: npu_bridge (TensorFlow 1.15 graphs) and npu_device (TensorFlow 2).

They refuse what an adapter refuses and also what it takes and silently ignores, and run on the CPU what is left. They
prove that the adapter's interface is used as it must be; they say nothing about convergence, support of ops or speed.

In this process: `with fakes.installed("hicann", "npu_bridge") as process:`. In another: the variables of
`fakes.environment`. With PYTHONPATH=<this folder> both adapters are importable. ZOO_FAKE_ADAPTER names the version
(default hicann), ZOO_FAKE_PRODUCT the product, 910A, A2 (default) or A3.

The real npu_device is for TensorFlow 2.6. The fake also runs on newer ones, so that our side of the interface is tested
there; that proves nothing about an adapter, since there is none. Two versions cannot be used with TensorFlow 2.6 or
newer, and fail as the real ones do: npu_device of r1.6, which is for 2.4, and that of the branch tf2.13, which needs
what TensorFlow 2.9 dropped.
"""
from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any, Iterator

FOLDER = os.path.dirname(os.path.abspath(__file__))
VERSIONS = ("r1.8", "r1.12", "tfa_v0.0.20", "hicann")
BRIDGE_VERSIONS = ("r1.6", *VERSIONS)  # of npu_bridge
ADAPTERS = ("npu_bridge", "npu_device")
_PARTS = (*ADAPTERS, "hccl")
_OWN_STATE = ("adapter_record", "adapter_session", "adapter_hccl")


@contextlib.contextmanager
def installed(version: str, adapter: str) -> Iterator[Any]:
    """Make this process one with one adapter installed, until the block ends; then TensorFlow is as it was before.

    Args:
        version: name of one of `adapter_schema.VERSIONS`.
        adapter: one of ADAPTERS; the other one cannot be imported.

    Yields:
        What the fakes have seen: an `adapter_record.Process`, with the lists `sessions` and `openings`.
    """
    before = os.environ.get("ZOO_FAKE_ADAPTER")
    _forget()
    os.environ["ZOO_FAKE_ADAPTER"] = version
    sys.path.insert(0, FOLDER)
    for other in ADAPTERS:
        if other != adapter:
            sys.modules[other] = None
    record = importlib.import_module("adapter_record")
    record.process.reset()
    try:
        yield record.process
    finally:
        if "adapter_session" in sys.modules:
            sys.modules["adapter_session"].uninstall()
        if "npu_device.npu_device" in sys.modules:
            sys.modules["npu_device.npu_device"].uninstall()
        _forget()
        sys.path.remove(FOLDER)
        del os.environ["ZOO_FAKE_ADAPTER"]
        if before is not None:
            os.environ["ZOO_FAKE_ADAPTER"] = before


def environment(folder: str, version: str, adapter: str) -> dict[str, str]:
    """Return the environment of a process with one adapter installed.

    Args:
        folder: an empty folder to install it in, with links.
        version: name of one of `adapter_schema.VERSIONS`.
        adapter: one of ADAPTERS.
    """
    for name in os.listdir(FOLDER):
        if name in (adapter, "hccl") or name.startswith("adapter_"):
            os.symlink(os.path.join(FOLDER, name), os.path.join(folder, name))
    paths = [folder] + [path for path in [os.environ.get("PYTHONPATH")] if path]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths), ZOO_FAKE_ADAPTER=version)


def _forget() -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in _PARTS + _OWN_STATE:
            del sys.modules[name]
