"""Which device: decided from the environment and --device before TensorFlow is imported, for GPUs with its help.

An NPU counts as wanted when one of its adapters is installed or a device file exists; then another device is used only
on request, because a run that quietly leaves the NPU costs its user days.
"""
from __future__ import annotations

import dataclasses
import glob
import importlib.util
import os
import re
from typing import Any, MutableMapping

from common.errors import ZooError, reason_of

SUPPORTED = {"npu_bridge": "TensorFlow 1.15 with Python 3.7", "npu_device": "TensorFlow 2.6.5 with Python 3.7 to 3.9"}
ADAPTERS = tuple(SUPPORTED)
TF32 = "tf32"  # the precision of float32 products and convolutions on a GPU that has TF32
INTER_OP_THREADS = 2  # ops at a time; does not change the numbers
_JOB = ("RANK_TABLE_FILE", "CM_CHIEF_IP", "CM_CHIEF_PORT", "CM_CHIEF_DEVICE", "CM_WORKER_SIZE", "CM_WORKER_IP")
_PCI_FOLDER = "/sys/bus/pci/devices"
_VENDOR = "0x19e5"  # Huawei
_PCI_DEVICES = {"0xd801": "910A", "0xd802": "A2", "0xd803": "A3"}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FIRST_WITH_TF32 = (8, 0)  # compute capability (Ampere)
_HOW_TO_LEAVE = "--device=cpu or --device=gpu runs without the NPU"


@dataclasses.dataclass(frozen=True)
class Device:
    """Where a run computes."""

    kind: str  # "npu", "gpu" or "cpu"
    id: str  # ASCEND_DEVICE_ID, a plain name that also names the run directory
    adapter: str | None = None  # "npu_bridge" or "npu_device" on an NPU
    has_tf32: bool = False  # whether a GPU computes float32 products and convolutions in TF32 unless told not to


@dataclasses.dataclass(frozen=True)
class Rank:
    """Which of several processes this one is."""

    number: int = 0  # rank 0 alone writes results
    size: int = 1  # of all processes

    @property
    def is_chief(self) -> bool:
        """Whether this is rank 0."""
        return self.number == 0


ALONE = Rank()


def device_id(environment: MutableMapping[str, str]) -> str:
    """Return ASCEND_DEVICE_ID, "0" when unset or empty; ZooError if it is a path, since it names a folder."""
    value = environment.get("ASCEND_DEVICE_ID") or "0"
    if not _PLAIN_NAME.fullmatch(value):
        raise ZooError(f"ASCEND_DEVICE_ID={value!r}: expected a device number such as 0 (letters, digits, _ . -)")
    return value


def require_single_device(environment: MutableMapping[str, str]) -> None:
    """Raise ZooError if RANK_SIZE or CM_WORKER_SIZE is not 1, for a model that runs on a single device."""
    for name in ("RANK_SIZE", "CM_WORKER_SIZE"):
        size = environment.get(name) or "1"
        if size != "1":
            raise ZooError(f"{name}={size}: single-device model, unset {name} or set it to 1")


def installed_adapters() -> list[str]:
    """Return the installed NPU adapters that fit the installed TensorFlow; nothing is imported to find them.

    TensorFlow 1.15, which keeps its code in a package tensorflow_core, takes npu_bridge; TensorFlow 2, npu_device.
    """
    fitting = "npu_bridge" if importlib.util.find_spec("tensorflow_core") is not None else "npu_device"
    return [fitting] if importlib.util.find_spec(fitting) is not None else []


def device_files() -> list[str]:
    """Device files of the NPU driver."""
    return sorted(glob.glob("/dev/davinci[0-9]*"))


def find_product(requested: str) -> str | None:
    """Return the product series of the NPUs, for `auto` from the PCI bus; None when it is unknown."""
    if requested != "auto":
        return requested
    for folder in sorted(glob.glob(os.path.join(_PCI_FOLDER, "*"))):
        if _read(folder, "vendor") == _VENDOR and _read(folder, "device") in _PCI_DEVICES:
            return _PCI_DEVICES[_read(folder, "device")]
    return None


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def choose(requested: str, environment: MutableMapping[str, str]) -> Device:
    """Choose the device as far as that is possible without TensorFlow.

    Call it before TensorFlow is imported: TensorFlow reads then what is set here, CUDA_VISIBLE_DEVICES (hides GPUs for
    --device=cpu), TF_CPP_MIN_LOG_LEVEL (quiet off the NPU; on it the adapter's INFO lines prove that it is used) and
    KERAS_HOME (Keras, which TensorFlow brings along, writes files to the user's home where it can).
    A kind of "gpu" here means "a GPU if TensorFlow sees one"; `settle` says which it is. Raises ZooError if an NPU is
    wanted and cannot be used.
    """
    for name in ("ASCEND_DEVICE_ID", "RANK_ID", "RANK_SIZE", *_JOB):
        if environment.get(name) == "":  # for the adapters an empty number is an error, and an empty text is set
            del environment[name]
    if "CM_WORKER_SIZE" in environment and environment.get("RANK_SIZE") == "1":  # the scripts set it
        del environment["RANK_SIZE"]
    environment.setdefault("KERAS_HOME", os.devnull)
    identity = device_id(environment)
    adapters, files = installed_adapters(), device_files()
    if adapters and requested in ("auto", "npu"):
        if not identity.isdigit():
            raise ZooError(f"ASCEND_DEVICE_ID={identity!r}: an NPU needs a number such as 0")
        return Device("npu", identity, adapters[0])
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if requested == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
        return Device("cpu", identity)
    if requested == "gpu":
        return Device("gpu", identity)
    if files:
        raise ZooError(f"{files[0]} is there, but {_no_adapter()}: install the adapter and source CANN's set_env.sh; "
                       f"{_HOW_TO_LEAVE}")
    if requested == "npu":
        raise ZooError(f"--device=npu: {_no_adapter()}; {_HOW_TO_LEAVE}")
    return Device("gpu", identity)


def settle(device: Device, requested: str, tf: Any) -> Device:
    """Decide whether a "gpu" of `choose` is one, and computes in TF32; `tf` is TensorFlow, with either of its APIs.

    Raises ZooError if a GPU was asked for, but TensorFlow sees none.
    """
    if device.kind != "gpu":
        return device
    gpus = tf.config.experimental.list_physical_devices("GPU")
    if gpus:
        return dataclasses.replace(device, has_tf32=_computes_in_tf32(gpus[0], tf.config.experimental))
    if requested == "gpu":
        raise ZooError(f"--device=gpu: TensorFlow {tf.__version__} sees no GPU; check the driver and that TensorFlow "
                       "is a GPU build, or use --device=cpu")
    return dataclasses.replace(device, kind="cpu")


def _computes_in_tf32(gpu: Any, experimental: Any) -> bool:
    """Whether float32 products and convolutions are computed in TF32, as TensorFlow 2.4 and newer do by default."""
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0" or not hasattr(
            experimental, "enable_tensor_float_32_execution") or not experimental.tensor_float_32_execution_enabled():
        return False
    capability = experimental.get_device_details(gpu).get("compute_capability")
    return capability is None or tuple(capability) >= _FIRST_WITH_TF32


def prepare_gpu(device: Device, precision: str, deterministic: bool, experimental: Any) -> None:
    """Make a GPU compute in a precision, and the same bits in every run if that is asked for; before any operation.

    `experimental` is `config.experimental` of TensorFlow's version 2 API, or of version 1 where there is no other.
    """
    if device.kind != "gpu":
        return
    if precision != TF32 and hasattr(experimental, "enable_tensor_float_32_execution"):
        experimental.enable_tensor_float_32_execution(False)
    if not deterministic:
        return
    if hasattr(experimental, "enable_op_determinism"):  # since TensorFlow 2.9
        experimental.enable_op_determinism()
    else:  # read when the first operation runs; covers convolutions, bias_add and some reductions
        os.environ.update(TF_DETERMINISTIC_OPS="1", TF_CUDNN_DETERMINISTIC="1")


def _no_adapter() -> str:
    """Say that no installed adapter fits."""
    unfit = [name for name in ADAPTERS if importlib.util.find_spec(name) is not None]
    if unfit:
        return f"{unfit[0]}, which is installed, is for {SUPPORTED[unfit[0]]}"
    return f"neither {' nor '.join(ADAPTERS)} is installed for this Python"


def ignore_variables(environment: MutableMapping[str, str], rank: Rank) -> list[str]:
    """Remove variables that would change what a program does, before the adapter is imported; return a notice for each.

    One that uses one device would join HCCL's job as soon as there is a rank table or a chief, whatever RANK_SIZE says.
    With NPU_LOOP_SIZE, npu_device would make several steps of a loop at once.
    """
    reasons = {"NPU_LOOP_SIZE": "it would change how many steps a call makes"}
    if rank.size == 1:
        has_size = environment.get("RANK_SIZE") not in (None, "", "1")
        reasons.update(dict.fromkeys([*_JOB, *(("RANK_SIZE", "RANK_ID") if has_size else ())],
                                     "this program uses one device"))
    removed = {name: environment.pop(name, "") for name in reasons}
    return [f"Notice: {name}={value} is ignored: {reasons[name]}" for name, value in removed.items() if value]


def adapter_failure(adapter: str, error: BaseException, printed: str = "") -> ZooError:
    """Return the error for an adapter that does not start; npu_bridge only prints why its library cannot be loaded."""
    reason = "; ".join([reason_of(error), *printed.strip().splitlines()[-1:]])
    return ZooError(f"{adapter} is installed but does not start ({reason}): source CANN's set_env.sh; {adapter} is for "
                    f"{SUPPORTED[adapter]}; {_HOW_TO_LEAVE}")


def too_old() -> ZooError:
    """Return the error that explains an npu_device older than r1.8, which has no compat."""
    return ZooError("this npu_device is older than r1.8 (CANN 5.1) and belongs to TensorFlow 2.4: install a newer one, "
                    f"for {SUPPORTED['npu_device']}; {_HOW_TO_LEAVE}")


def precision_in_effect(device: Device, precision_mode: str | None, npu_default: str) -> str:
    """Name the precision that a settled device computes in; `npu_default` is the model's on an NPU."""
    if device.kind == "npu":
        return precision_mode or npu_default
    if device.kind == "gpu" and precision_mode == "allow_mix_precision":
        return precision_mode
    return TF32 if device.has_tf32 and precision_mode != "force_fp32" else "float32"


def describe(device: Device, tensorflow: str, precision: str) -> str:
    """Return the first line that a program prints."""
    return (f"Device: {device.kind} | TensorFlow {tensorflow} | adapter {device.adapter or 'none'} | "
            f"precision {precision}")


def num_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Return the available memory in bytes; on systems other than Linux, the installed memory."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
