"""`common.keras.npu` sets each version's options, opens the NPU once, and explains an adapter that does not start."""
from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from common.devices.npu_options import NpuOptions
from common.devices.selection import Device, Rank
from common.errors import FlagError, ZooError
from common.keras import npu
from tests import fakes

NPU = Device("npu", "2", "npu_device")
ROOT = os.path.dirname(os.path.dirname(fakes.FOLDER))


@pytest.fixture(params=fakes.VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def process(version, monkeypatch):
    monkeypatch.delenv("ASCEND_DEVICE_ID", raising=False)
    monkeypatch.delenv("RANK_SIZE", raising=False)
    with fakes.installed(version, "npu_device") as seen:
        yield seen


def changed_options(process, options):
    """Start the NPU; return what the adapter hands on that is not its default."""
    options.make_folders()
    import npu_device

    defaults = npu_device.global_options().as_dict()
    npu.start(NPU, options)
    opening, = process.openings
    assert opening.num_as_default == 1
    return {name: value for name, value in opening.options.items() if defaults.get(name) != value}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_nothing_happens_elsewhere(process, kind):
    npu.start(Device(kind, "0"), NpuOptions("bogus"))
    assert process.openings == [] and "npu_device" not in sys.modules


def test_the_device_of_the_run_is_opened_once(process, monkeypatch):
    monkeypatch.setenv("ASCEND_DEVICE_ID", "")  # counts as 0 everywhere in the zoo, the adapter cannot read it
    npu.start(Device("npu", "0", "npu_device"), NpuOptions("allow_mix_precision"))
    opening, = process.openings
    assert (opening.device_id, opening.num_as_default) == (0, 1)


def test_the_device_id_is_handed_on(process):
    npu.start(NPU, NpuOptions("allow_mix_precision"))
    assert process.openings[0].device_id == 2


def test_without_diagnosis_only_the_precision_is_set(process):
    assert changed_options(process, NpuOptions("force_fp16")) == {"precision_mode": "force_fp16"}


@pytest.mark.parametrize("mode", ["force_fp32", "allow_fp32_to_fp16", "force_fp16", "must_keep_origin_dtype",
                                  "allow_mix_precision"])
def test_modes_that_every_version_knows(process, mode):
    npu.start(NPU, NpuOptions(mode))
    assert process.openings[0].options["precision_mode"] == mode


@pytest.mark.parametrize("mode", ["cube_fp16in_fp32out", "allow_mix_precision_fp16", "allow_mix_precision_bf16",
                                  "allow_fp32_to_bf16"])
def test_a_newer_mode_is_taken_or_refused_by_name(process, version, mode):
    if version == "r1.8":
        with pytest.raises(FlagError, match=f"--precision_mode={mode}: this npu_device knows force_fp32, "):
            npu.start(NPU, NpuOptions(mode))
        assert process.openings == []
    else:
        npu.start(NPU, NpuOptions(mode))
        assert process.openings[0].options["precision_mode"] == mode


def test_the_adapter_s_own_precision(process):
    assert changed_options(process, NpuOptions(None)) == {}


def test_the_newer_precision_modes(process, version):
    options = NpuOptions(None, precision_mode_v2="mixed_float16")
    if version in ("r1.8", "r1.12"):
        with pytest.raises(FlagError, match="--precision_mode_v2=mixed_float16: this npu_device has no precision_mode"):
            npu.start(NPU, options)
    else:
        assert changed_options(process, options) == {"precision_mode_v2": "mixed_float16"}


def test_the_newest_precision_modes_are_taken_or_refused_by_name(process, version):
    options = NpuOptions(None, precision_mode_v2="mixed_hif8")
    if version == "hicann":
        assert changed_options(process, options) == {"precision_mode_v2": "mixed_hif8"}
    elif version == "tfa_v0.0.20":
        with pytest.raises(FlagError, match="--precision_mode_v2=mixed_hif8: this npu_device knows fp16, "):
            npu.start(NPU, options)


def test_determinism(process, version):
    options = NpuOptions("force_fp16", deterministic=True)
    if version == "r1.8":
        with pytest.raises(FlagError, match="--deterministic: this npu_device has no .*, it is older than r1.12"):
            npu.start(NPU, options)
    else:
        assert changed_options(process, options)["deterministic"] == "1"


@pytest.mark.skipif(importlib.util.find_spec("tensorflow_core") is not None, reason="TensorFlow 1.15 has no TF32")
@pytest.mark.parametrize("hf32, allowed", [(None, True), (True, True), (False, False)])
def test_hf32_is_tensorflow_s_switch_for_tf32_when_the_npu_is_opened(process, hf32, allowed):
    tensorflow = importlib.import_module("tensorflow")
    try:
        npu.start(NPU, NpuOptions("must_keep_origin_dtype", hf32=hf32))
        assert process.openings[0].allows_hf32 == allowed
    finally:
        tensorflow.config.experimental.enable_tensor_float_32_execution(True)


def test_the_folder_of_compiled_operators(process, tmp_path):
    folder = str(tmp_path / "cache")
    changed = changed_options(process, NpuOptions("force_fp16", cache_path=folder))
    assert changed["op_compiler_cache_dir"] == folder and process.openings[0].options[
        "op_compiler_cache_mode"] == "enable"


def test_data_dump(process, tmp_path):
    folder = str(tmp_path / "dump")
    changed = changed_options(process, NpuOptions("force_fp16", data_dump_path=folder, data_dump_step="0|5|10-20"))
    assert changed == {"precision_mode": "force_fp16", "enable_dump": "1", "dump_path": folder,
                       "dump_step": "0|5|10-20", "dump_mode": "all"}


def test_overflow_dump(process, tmp_path):
    folder = str(tmp_path / "dump")
    changed = changed_options(process, NpuOptions("force_fp16", over_dump_path=folder))
    assert changed == {"precision_mode": "force_fp16", "enable_dump_debug": "1", "dump_path": folder}
    assert process.openings[0].options["dump_debug_mode"] == "all"


PROFILE = dict(training_trace="on", task_trace="on", task_time="on", hccl="on", aicpu="on",
               aic_metrics="PipeUtilization", fp_point="", bp_point="")


def test_profiling_is_json(process, tmp_path):
    folder = str(tmp_path / 'a "quoted" folder')
    changed = changed_options(process, NpuOptions("force_fp16", profiling_path=folder))
    assert changed["enable_profiling"] == "1"
    assert json.loads(changed["profiling_options"]) == dict(PROFILE, output=folder)


def test_mixlist_and_fusion_switches(process, tmp_path):
    mixlist, fusion = tmp_path / "ops_info.json", tmp_path / "fusion_switch.cfg"
    mixlist.write_text('{"black-list": {"to-add": ["ReduceSumD"]}}')
    fusion.write_text('{"Switch": {"GraphFusion": {"ALL": "off"}}}')
    changed = changed_options(process, NpuOptions("allow_mix_precision", str(mixlist), str(fusion)))
    assert changed == {"precision_mode": "allow_mix_precision", "modify_mixlist": str(mixlist),
                       "fusion_switch_file": str(fusion)}


def test_tuning_is_called_differently_by_version(process, version, tmp_path):
    folder = str(tmp_path / "tuning")
    changed = changed_options(process, NpuOptions("force_fp16", tuning_path=folder))
    del changed["precision_mode"]
    assert changed == ({"auto_tune_mode": "RL,GA"} if version == "r1.8" else {"aoe_mode": "2", "work_path": folder})


def test_a_refused_option_opens_nothing(process, tmp_path):
    with pytest.raises(ZooError, match="no such folder"):
        npu.start(NPU, NpuOptions("force_fp16", data_dump_path=str(tmp_path / "missing")))
    assert process.openings == []


def test_a_failure_to_open_is_explained(process, monkeypatch):
    monkeypatch.setenv("RANK_SIZE", "2")
    with pytest.raises(ZooError, match="npu_device is installed but does not start .*RuntimeError: .*--device=cpu"):
        npu.start(NPU, NpuOptions("force_fp16"), Rank(1, 2))


@pytest.mark.parametrize("device, number", [("1", 1), ("0", 1)])
def test_hccl_numbers_ranks_without_a_table(version, process, monkeypatch, device, number):
    if version == "r1.8":
        pytest.skip("it knows no chief")
    chief = dict(CM_CHIEF_IP="10.0.0.1", CM_CHIEF_PORT="6000", CM_CHIEF_DEVICE="0", CM_WORKER_SIZE="2")
    for name, value in dict(chief, ASCEND_DEVICE_ID=device).items():
        monkeypatch.setenv(name, value)
    npu_of_rank = Device("npu", device, "npu_device")
    if device == str(number):
        assert npu.start(npu_of_rank, NpuOptions("force_fp16"), Rank(number, 2)) == []
        assert (process.handle.workers_num, process.handle.worker_id) == (2, number)
    else:
        with pytest.raises(ZooError, match="HCCL makes this process rank 0, not 1: set RANK_ID=0"):
            npu.start(npu_of_rank, NpuOptions("force_fp16"), Rank(number, 2))


def test_a_loop_size_that_is_left_in_the_environment_is_not_used(process, monkeypatch):
    monkeypatch.setenv("NPU_LOOP_SIZE", "32")
    notices = npu.start(NPU, NpuOptions("force_fp16"))
    assert notices == ["Notice: NPU_LOOP_SIZE=32 is ignored: it would change how many steps a call makes"]
    assert "NPU_LOOP_SIZE" not in process.openings[0].environment


def test_a_job_that_is_left_in_the_environment_is_not_joined(process, monkeypatch):
    """It names two ranks, but this program, an evaluation perhaps, is not one of them."""
    for name, value in dict(RANK_SIZE="2", RANK_ID="1", RANK_TABLE_FILE="/t.json").items():
        monkeypatch.setenv(name, value)
    notices = npu.start(NPU, NpuOptions("force_fp16"))
    assert notices == [f"Notice: {text} is ignored: this program uses one device"
                       for text in ("RANK_TABLE_FILE=/t.json", "RANK_SIZE=2", "RANK_ID=1")]
    assert process.handle.workers_num == 1


def test_the_adapter_for_tensorflow_2_4_is_refused():
    with fakes.installed("r1.6", "npu_device") as process:
        with pytest.raises(ZooError, match="this npu_device is older than r1.8.*TensorFlow 2.4.*TensorFlow 2.6.5"):
            npu.start(NPU, NpuOptions("force_fp16"))
        assert process.openings == []


def test_the_adapter_for_tensorflow_2_13_does_not_start():
    with fakes.installed("tf2.13", "npu_device"), pytest.raises(
            ZooError, match="AttributeError.*experimental.*npu_device is for TensorFlow 2.6.5 with Python 3.7 to 3.9"):
        npu.start(NPU, NpuOptions("force_fp16"))


@pytest.mark.parametrize("statement, reason", [
    ("raise OSError('libge_runner.so: cannot open shared object file')", "OSError: libge_runner.so"),
    ("import tensorflow_of_another_version", "ModuleNotFoundError: No module named"),
    ("from types import SimpleNamespace\nSimpleNamespace().experimental", "AttributeError: .*experimental"),
    ("pass", "AttributeError: .*global_options"),
])
def test_an_adapter_that_does_not_import_is_explained(tmp_path, monkeypatch, statement, reason):
    (tmp_path / "npu_device.py").write_text(statement + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "npu_device", raising=False)
    with pytest.raises(ZooError, match=f"npu_device is installed but does not start .{reason}") as raised:
        npu.start(NPU, NpuOptions("force_fp16"))
    assert raised.value.status == 1 and "\n" not in str(raised.value)
    sys.modules.pop("npu_device", None)


def test_an_adapter_that_is_gone_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "npu_device", None)
    with pytest.raises(ZooError, match="does not start .*npu_device"):
        npu.start(NPU, NpuOptions("force_fp16"))


def test_importing_it_loads_neither_tensorflow_nor_an_adapter():
    check = "import sys, common.keras.npu as _; sys.exit(bool({'tensorflow', 'npu_device'} & set(sys.modules)))"
    environment = dict(os.environ, PYTHONPATH=fakes.FOLDER)
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, env=environment, check=False).returncode == 0
