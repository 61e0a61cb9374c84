"""`common.graph.npu` starts the adapter and writes session options that every version of it reads as they are meant."""
from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

from common.devices.npu_options import NpuOptions
from common.devices.selection import Device
from common.errors import FlagError, ZooError
from common.graph import compat, npu
from common.graph.compat import tf
from tests import fakes

IS_TF1 = tf.__version__.startswith("1.")
ADAPTER = "npu_bridge" if IS_TF1 else "npu_device"
NPU = Device("npu", "0", ADAPTER)
COMPILED = "The model has been compiled on the Ascend AI processor, current graph id is: "
ORIGINAL_INIT = tf.Session.__init__


@pytest.fixture(params=fakes.BRIDGE_VERSIONS if IS_TF1 else fakes.VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def process(version, monkeypatch):
    monkeypatch.delenv("RANK_SIZE", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    compat.enable()
    with tf.Graph().as_default(), fakes.installed(version, ADAPTER) as seen:
        yield seen
    assert tf.Session.__init__ is ORIGINAL_INIT


def parameters_of_session(process, options):
    """Make a session on the NPU; return its options as the adapter reads them, without the constant one."""
    options.make_folders()
    npu.start(NPU, options)
    tf.Session(config=npu.session_config(NPU, options, threads=1)).close()
    session, = process.sessions
    return {name: value for name, value in session.parameters.items() if name != "use_off_line"}


@pytest.mark.parametrize("mode", ["force_fp32", "allow_fp32_to_fp16", "force_fp16", "must_keep_origin_dtype",
                                  "allow_mix_precision"])
def test_precision(process, mode):
    assert parameters_of_session(process, NpuOptions(mode)) == {"precision_mode": mode}


def test_the_adapter_s_own_precision(process):
    assert parameters_of_session(process, NpuOptions(None)) == {}


def test_the_newer_precision_modes(process, version):
    options = NpuOptions(None, precision_mode_v2="mixed_float16")
    if version in ("r1.6", "r1.8", "r1.12"):
        with pytest.raises(FlagError, match=f"--precision_mode_v2=mixed_float16: this {ADAPTER} has no .* than r1.13"):
            npu.start(NPU, options)
    else:
        assert parameters_of_session(process, options) == {"precision_mode_v2": "mixed_float16"}


def test_determinism(process, version):
    options = NpuOptions("force_fp16", deterministic=True)
    if version in ("r1.6", "r1.8"):
        with pytest.raises(FlagError, match=f"--deterministic: this {ADAPTER} has no deterministic, .* than r1.12"):
            npu.start(NPU, options)
    else:
        assert parameters_of_session(process, options) == {"precision_mode": "force_fp16", "deterministic": 1}


def test_the_folder_of_compiled_operators(process, tmp_path):
    folder = str(tmp_path / "cache")
    assert parameters_of_session(process, NpuOptions("force_fp16", cache_path=folder)) == {
        "precision_mode": "force_fp16", "op_compiler_cache_dir": folder, "op_compiler_cache_mode": "enable"}


@pytest.mark.parametrize("hf32, variable", [(None, None), (True, "1"), (False, "0")])
def test_hf32_is_a_variable_that_sessions_read(process, monkeypatch, hf32, variable):
    monkeypatch.setenv("ENABLE_HF32_EXECUTION", "")
    monkeypatch.delenv("ENABLE_HF32_EXECUTION")
    parameters_of_session(process, NpuOptions("must_keep_origin_dtype", hf32=hf32))
    assert process.sessions[0].environment.get("ENABLE_HF32_EXECUTION") == variable


def test_data_dump(process, tmp_path):
    folder = str(tmp_path / "dump")
    parameters = parameters_of_session(process, NpuOptions("force_fp16", data_dump_path=folder,
                                                           data_dump_step="0|5|10-20"))
    assert parameters == {"precision_mode": "force_fp16", "enable_dump": True, "dump_path": folder,
                          "dump_step": "0|5|10-20", "dump_mode": "all"}


def test_overflow_dump(process, tmp_path):
    folder = str(tmp_path / "dump")
    parameters = parameters_of_session(process, NpuOptions("force_fp16", over_dump_path=folder))
    assert parameters == {"precision_mode": "force_fp16", "enable_dump_debug": True, "dump_path": folder,
                          "dump_debug_mode": "all"}


PROFILE = dict(training_trace="on", task_trace="on", task_time="on", hccl="on", aicpu="on",
               aic_metrics="PipeUtilization", fp_point="", bp_point="")


def test_profiling_is_json(process, tmp_path):
    folder = str(tmp_path / 'a "quoted" folder')
    parameters = parameters_of_session(process, NpuOptions("force_fp16", profiling_path=folder))
    assert parameters["profiling_mode"] is True
    assert json.loads(parameters["profiling_options"]) == dict(PROFILE, output=folder)


def test_mixlist_and_fusion_switches(process, tmp_path):
    mixlist, fusion = tmp_path / "ops_info.json", tmp_path / "fusion_switch.cfg"
    mixlist.write_text('{"black-list": {"to-add": ["ReduceSumD"]}}')
    fusion.write_text('{"Switch": {"GraphFusion": {"ALL": "off"}}}')
    parameters = parameters_of_session(process, NpuOptions("allow_mix_precision", str(mixlist), str(fusion)))
    assert parameters == {"precision_mode": "allow_mix_precision", "modify_mixlist": str(mixlist),
                          "fusion_switch_file": str(fusion)}


def test_tuning(process, tmp_path):
    folder = str(tmp_path / "tuning")
    parameters = parameters_of_session(process, NpuOptions("force_fp16", tuning_path=folder))
    assert parameters == {"precision_mode": "force_fp16", "aoe_mode": "2", "work_path": folder}


def test_a_text_outside_ascii_reaches_the_adapter(process, tmp_path):
    folder = str(tmp_path / "数据")
    assert parameters_of_session(process, NpuOptions("force_fp16", data_dump_path=folder))["dump_path"] == folder


def test_training_runs_and_the_session_is_closed(process):
    npu.start(NPU)
    x = tf.placeholder(tf.float32, [None])
    weight = tf.get_variable("weight", initializer=3.0)
    loss = tf.reduce_mean(tf.square(weight * x))
    train_op = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    with tf.Session(config=npu.session_config(NPU, NpuOptions("allow_mix_precision"), threads=1)) as session:
        session.run(tf.global_variables_initializer())
        before, _ = session.run([loss, train_op], {x: np.array([1.0, 2.0])})
        after = session.run(weight)
        assert not process.sessions[0].is_closed
    assert before == pytest.approx(9 * 2.5)
    assert after == pytest.approx(3 - 0.1 * 2 * 3 * 2.5)  # d/dw of w^2 mean(x^2)
    assert process.sessions[0].is_closed


def test_each_new_graph_and_shape_is_compiled_once(process, version, capfd):
    npu.start(NPU)
    x = tf.placeholder(tf.float32, [None])
    total = tf.reduce_sum(x)
    with tf.Session(config=npu.session_config(NPU, NpuOptions("allow_mix_precision"), threads=1)) as session:
        for size in (4, 4, 3, 4):
            assert session.run({"total": total}, {x: np.ones(size)}) == {"total": size}
        session.run(total * 2, {x: np.ones(4)})
    assert len(process.sessions[0].signatures) == 3
    lines = [line for line in capfd.readouterr().err.splitlines() if "tf_adapter/kernels/geop_npu.cc" in line]
    # version r1.6 of the adapter prints no such line
    assert [line.partition(COMPILED)[2] for line in lines] == ([] if version == "r1.6" else ["1", "2", "3"])


def test_a_quiet_tensorflow_hides_the_proof_that_the_npu_is_used(process, monkeypatch, capfd):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    npu.start(NPU)
    with tf.Session(config=npu.session_config(NPU, NpuOptions("allow_mix_precision"), threads=1)) as session:
        session.run(tf.constant(1))
    assert COMPILED not in capfd.readouterr().err


def test_starting_the_adapter_leaves_resource_variables(process):
    npu.start(NPU)
    assert tf.resource_variables_enabled()


def test_starting_twice_is_starting_once(process):
    npu.start(NPU)
    npu.start(NPU)
    tf.Session(config=npu.session_config(NPU, NpuOptions("allow_mix_precision"), threads=1)).close()
    assert len(process.sessions) == 1


# elsewhere


@pytest.mark.parametrize("device", [Device("cpu", "0"), Device("gpu", "0")])
def test_no_npu_optimizer_elsewhere(process, tmp_path, device):
    options = NpuOptions("allow_mix_precision", data_dump_path=str(tmp_path), tuning_path=str(tmp_path))
    npu.start(device)
    assert ADAPTER not in sys.modules and tf.Session.__init__ is ORIGINAL_INIT
    config = npu.session_config(device, options, threads=3)
    assert not config.graph_options.rewrite_options.custom_optimizers
    assert config.graph_options.rewrite_options.remapping == config.graph_options.rewrite_options.DEFAULT
    assert config.intra_op_parallelism_threads == 3 and config.allow_soft_placement
    with tf.Session(config=config) as session:
        assert session.run(tf.constant(7)) == 7
    assert process.sessions == []


def test_only_a_gpu_mixes_and_only_when_asked():
    options = NpuOptions("allow_mix_precision")
    for kind, mixed, wanted in (("gpu", True, True), ("gpu", False, False), ("cpu", True, False)):
        rewrite = npu.session_config(Device(kind, "0"), options, 1, mixed).graph_options.rewrite_options
        assert (rewrite.auto_mixed_precision == rewrite.ON) == wanted


# adapters that do not start


@pytest.mark.skipif(IS_TF1, reason="TensorFlow 1.15 has npu_bridge in every version")
def test_an_adapter_without_graphs_is_refused_by_name():
    with fakes.installed("r1.6", ADAPTER), pytest.raises(ZooError, match="older than r1.8.*--device=cpu"):
        npu.start(NPU)
    assert tf.Session.__init__ is ORIGINAL_INIT


@pytest.mark.skipif(IS_TF1, reason="npu_device")
def test_the_adapter_for_tensorflow_2_13_does_not_start():
    with fakes.installed("tf2.13", ADAPTER), pytest.raises(ZooError, match="AttributeError.*is for TensorFlow 2.6.5"):
        npu.start(NPU)


@pytest.mark.parametrize("statement, reason", [
    ("raise OSError('libge_runner.so: cannot open shared object file')", "OSError: libge_runner.so"),
    ("import tensorflow_of_another_version", "ModuleNotFoundError: No module named"),
    ("from types import SimpleNamespace\nSimpleNamespace().experimental", "AttributeError: .*experimental"),
])
def test_an_adapter_that_does_not_import_is_explained(tmp_path, monkeypatch, statement, reason):
    (tmp_path / ADAPTER).mkdir()
    (tmp_path / ADAPTER / "__init__.py").write_text(statement + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZooError, match=f"{ADAPTER} is installed but does not start .{reason}") as raised:
        npu.start(NPU)
    assert raised.value.status == 1 and "\n" not in str(raised.value)
    assert ADAPTER not in sys.modules and os.path.isdir(tmp_path / ADAPTER)


def test_the_reason_that_an_adapter_only_prints_is_shown(tmp_path, monkeypatch):
    (tmp_path / "npu_bridge").mkdir()
    (tmp_path / "npu_bridge" / "__init__.py").write_text(
        "print('libge_runner.so: cannot open shared object file')\nfrom npu_bridge.helper import npu_bridge_handle\n")
    (tmp_path / "npu_bridge" / "helper.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZooError, match="ImportError: cannot import name 'npu_bridge_handle'.*; libge_runner.so: "):
        npu.start(Device("npu", "0", "npu_bridge"))


def test_an_adapter_that_is_gone_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, ADAPTER, None)
    with pytest.raises(ZooError, match=f"does not start .*{ADAPTER}"):
        npu.start(NPU)


# what is left in the environment


LEFT = {"RANK_TABLE_FILE": "/user/config/jobstart_hccl.json", "RANK_SIZE": "1", "RANK_ID": "0"}
CHIEF = {"CM_CHIEF_IP": "10.0.0.1", "CM_CHIEF_PORT": "6000", "CM_CHIEF_DEVICE": "0", "CM_WORKER_SIZE": "1"}


@pytest.mark.parametrize("left, named", [
    (LEFT, ["RANK_TABLE_FILE=/user/config/jobstart_hccl.json"]),
    ({"RANK_TABLE_FILE": ""}, []),
    (CHIEF, ["CM_CHIEF_IP=10.0.0.1", "CM_CHIEF_PORT=6000", "CM_CHIEF_DEVICE=0", "CM_WORKER_SIZE=1"]),
])
def test_a_job_that_is_left_in_the_environment_is_not_joined(process, monkeypatch, left, named):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    notices = npu.start(NPU)
    tf.Session(config=npu.session_config(NPU, NpuOptions("allow_mix_precision"), threads=1)).close()
    assert [notice.split(" ")[1] for notice in notices] == named
    assert all(notice.startswith("Notice: ") and "is ignored: this program uses one device" in notice
               for notice in notices)
    assert not {"RANK_TABLE_FILE", "CM_CHIEF_IP"} & set(process.sessions[0].environment)
