"""Show what this machine can run: python3 -m common.doctor [--device=auto|npu|gpu|cpu].

Exit status 1 when no model can run.
"""
from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Mapping

from common import ROOT, console
from common.cli import program
from common.devices import ranks, selection
from common.devices.selection import Device
from common.errors import ZooError, reason_of

LEVEL_FILE = "modelzoo_level.txt"
OPTIONAL = {"matplotlib": "matplotlib, for PNG plots", "tensorboard": "tensorboard, for events/"}
ENVIRONMENT = ("ASCEND_DEVICE_ID", "DEVICE_ID", "RANK_ID", "RANK_SIZE", "RANK_TABLE_FILE", "JOB_ID", "ASCEND_HOME_PATH",
               "ASCEND_OPP_PATH", "ASCEND_RT_VISIBLE_DEVICES", "ASCEND_GLOBAL_LOG_LEVEL", "NPU_LOOP_SIZE", "AOE_MODE",
               "ENABLE_HF32_EXECUTION", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL",
               "TF_ENABLE_ONEDNN_OPTS", "PYTHON")
PREFIXES = ("CM_", "HCCL_")
SET_ENV = "/usr/local/Ascend/cann/set_env.sh (older: /usr/local/Ascend/ascend-toolkit/set_env.sh)"
_OPEN_EAGERLY = """
import sys
import tensorflow as tf
from common.cli import program
from common.devices.npu_options import NpuOptions
from common.devices.selection import Device
from common.keras import npu

def body(stop):
    npu.start(Device("npu", sys.argv[1], "npu_device"), NpuOptions(None))
    return 0 if int(tf.function(lambda: tf.constant(1) + 1)()) == 2 else 1

sys.exit(program.run(body))
"""
_OPEN_SECONDS = 600.0


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Print the findings; return the exit status."""
    from common.cli import shared_flags
    from common.cli.parser import FlagSet

    flag_set = FlagSet(__doc__ or "")
    shared_flags.define_device(flag_set)
    flags = flag_set.parse(arguments)
    names = [*ENVIRONMENT, *sorted(name for name in os.environ if name.startswith(PREFIXES))]
    shown = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    _say(f"Python       {platform.python_version()} ({sys.executable}) on {platform.platform()}")
    problems = []
    try:
        device = selection.choose(flags.device, os.environ)
    except ZooError as error:
        device = None
        problems.append(str(error))
    version, reason = _tensorflow()
    _say(f"TensorFlow   {version or reason}")
    if version is None:
        problems.append(f"TensorFlow {reason}: run 'make setup', or install TensorFlow for {sys.executable}")
    _say(f"Adapter      {', '.join(selection.installed_adapters()) or 'none installed'}; device files: "
          f"{', '.join(selection.device_files()) or 'none'}")
    if device and version and device.kind == "npu":
        _say(f"Product      {selection.find_product('auto') or 'unknown, not found on the PCI bus'}")
        problems += npu_problems(device, version, os.environ)
    if device and version and not problems:
        try:
            with console.noise_hidden():
                settled = _settled(device, flags.device)
            _say(f"Device       {settled}")
        except ZooError as error:
            problems.append(str(error))
    _say(f"Environment  {', '.join(shown) or 'none of ' + ', '.join(ENVIRONMENT)}")
    for module, package in OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            _say(f"Missing      {package} (optional)")
    _say(f"Disk         {shutil.disk_usage(ROOT).free / 2 ** 30:.1f} GiB free at {ROOT}")
    runnable = _print_models(version, problems)
    for problem in problems:
        _say(f"Problem      {problem}")
    return 0 if runnable else 1


def _say(finding: str) -> None:
    print(console.fold(finding, sys.stdout))


def _tensorflow() -> tuple[str | None, str]:
    """Version of TensorFlow, or None and why it cannot be used."""
    if importlib.util.find_spec("tensorflow") is None:
        return None, "is not installed"
    try:
        from common.graph.compat import tf
    except Exception as error:  # a wrong numpy, protobuf or processor shows in many ways
        return None, f"does not start ({reason_of(error)})"
    return tf.__version__, ""


def _settled(device: Device, requested: str) -> str:
    from common.graph import npu
    from common.graph.compat import tf

    device = selection.settle(device, requested, tf)
    npu.start(device)
    if device.adapter == "npu_device":
        _open_eagerly(device)
    return f"{device.kind} {device.id}"


def _open_eagerly(device: Device) -> None:
    """Open an NPU as Keras models do in a process of its own, as this one is for graphs; ZooError if it fails."""
    try:
        process = subprocess.run([sys.executable, "-c", _OPEN_EAGERLY, device.id], env=program.environment(),
                                 check=False, timeout=_OPEN_SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except subprocess.TimeoutExpired:
        raise ZooError(f"opening NPU {device.id} took more than {_OPEN_SECONDS:.0f} s: is another process using it?"
                       ) from None
    if process.returncode:
        lines = process.stderr.decode("utf-8", "replace").strip().splitlines() or ["no word of why"]
        reasons = [line[len("[Error] "):] for line in lines if line.startswith("[Error] ")] or lines
        raise ZooError(f"opening NPU {device.id} for Keras models: {reasons[-1]}")


def npu_problems(device: Device, tensorflow: str, environment: Mapping[str, str]) -> list[str]:
    """Return what keeps an NPU from being used, with a version of TensorFlow."""
    assert device.adapter is not None
    found = [pairing_problem(device.adapter, tensorflow, sys.version_info[:2]), _files(device, environment)]
    if not environment.get("ASCEND_OPP_PATH"):
        found.append(f"ASCEND_OPP_PATH is not set: source {SET_ENV}")
    try:
        size = _check_ranks(environment)
        if size > 1 or device.adapter == "npu_bridge":
            found.append(_hccl(device.adapter))
    except ZooError as error:
        found.append(str(error))
    return [problem for problem in found if problem]


def pairing_problem(adapter: str, tensorflow: str, python: tuple[int, ...]) -> str | None:
    """Say why an adapter cannot be used with this version of TensorFlow and Python, or None."""
    first, last = ((3, 7), (3, 7)) if adapter == "npu_bridge" else ((3, 7), (3, 9))
    needed = "1.15." if adapter == "npu_bridge" else "2.6."
    reason = ""
    if tensorflow.startswith("2.13.") and adapter == "npu_device":
        reason = (": the adapter's branch for TensorFlow 2.13 cannot be imported, its loss-scale optimizer has a base "
                  "class that TensorFlow 2.9 dropped")
    if tensorflow.startswith(needed) and first <= python[:2] <= last:
        return None
    return (f"{adapter} is for {selection.SUPPORTED[adapter]}, not for TensorFlow {tensorflow} with Python "
            f"{'.'.join(map(str, python[:2]))}{reason}")


def _files(device: Device, environment: Mapping[str, str]) -> str | None:
    files = selection.device_files()
    if not files:
        return "there is no /dev/davinci0 or any other: load the driver, or start the container with the devices"
    wanted = f"/dev/davinci{device.id}"
    if wanted not in files and not environment.get("ASCEND_RT_VISIBLE_DEVICES"):
        return f"ASCEND_DEVICE_ID={device.id}: there is no {wanted}, only {', '.join(files)}"
    return None


def _check_ranks(environment: Mapping[str, str]) -> int:
    """Return the size of the job that the environment describes, after a look at its rank table."""
    size = ranks.current(environment, "npu").size
    if size > 1 and environment.get("RANK_TABLE_FILE"):
        servers = ranks.servers_in(environment["RANK_TABLE_FILE"])
        for server in servers:
            ranks.check_processes(selection.find_product("auto"), [number for number, _ in server], len(servers))
    return size


def _hccl(adapter: str) -> str | None:
    try:
        importlib.import_module("hccl.manage.api")
    except Exception as error:  # it loads shared libraries
        purpose = "" if adapter == "npu_bridge" else " for several NPUs"
        return (f"hccl.manage.api, which {adapter} needs{purpose}, cannot be imported ({reason_of(error)}): "
                f"source {SET_ENV}")
    return None


def _print_models(version: str | None, problems: list[str]) -> int:
    """Print a line for each model; return how many can run."""
    runnable = 0
    for folder in sorted(os.listdir(ROOT)):
        level = os.path.join(ROOT, folder, LEVEL_FILE)
        if not os.path.isfile(level):
            continue
        with open(level, encoding="utf-8") as file:
            needs = dict(line.strip().split(":", 1) for line in file if ":" in line)
        minimum = needs.get("MinTensorFlow", "1.15")
        if version is None or problems:
            _say(f"Model        {folder}: cannot run, see the problems below")
        elif _numbers(version) < _numbers(minimum):
            _say(f"Model        {folder}: cannot run, it needs TensorFlow {minimum} or newer: run 'make setup'")
        else:
            runnable += 1
            _say(f"Model        {folder}: can run: bash {folder}/test/train_full_1p.sh --data_path=FOLDER")
    return runnable


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


if __name__ == "__main__":
    sys.exit(main())
