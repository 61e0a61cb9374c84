"""The fakes of sessions refuse what the graph adapters take and ignore, or abort at."""
from __future__ import annotations

import gc
import importlib
import os
import sys

import pytest

from common.graph.compat import tf
from tests import fakes
from tests.common.fakes.outcomes import CHIEF, GRAPH_VERSIONS, IS_TF1, error, in_folder

pytestmark = pytest.mark.usefixtures("graph_mode")


def make_config(parameters, optimizers=("NpuOptimizer",), switched_off=("remapping", "memory_optimization")):
    """A ConfigProto; a bool goes into the field .b, an int into .i, a str into .s."""
    config = tf.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    for name in switched_off:
        setattr(rewrite, name, rewrite.OFF)
    for name in optimizers:
        optimizer = rewrite.custom_optimizers.add()
        optimizer.name = name
        for key, value in parameters.items():
            if isinstance(value, bool):
                optimizer.parameter_map[key].b = value
            elif isinstance(value, int):
                optimizer.parameter_map[key].i = value
            else:
                optimizer.parameter_map[key].s = value.encode()
    return config


BASE = {"use_off_line": True, "precision_mode": "allow_mix_precision"}
DUMP = {"enable_dump": True, "dump_path": "FOLDER"}
PROFILE = '{"output": "FOLDER", "training_trace": "on", "task_trace": "on", "fp_point": "", "bp_point": ""}'

REFUSED = [
    ({"sfusion_switch_file": "FOLDER/fusion.cfg"}, "SilentlyAccepted", "no option of NpuOptimizer"),
    ({"use_off_line": 1}, "SilentlyAccepted", "in .i, NpuOptimizer .* reads .b"),
    ({"precision_mode": True}, "SilentlyAccepted", "in .b, NpuOptimizer .* reads .s"),
    ({"use_off_line": False}, "SilentlyAccepted", "runs on the host"),
    ({"precision_mode": "mixed"}, "AdapterError", "precision_mode='mixed'"),
    ({"precision_mode": ""}, "AdapterError", "precision_mode=''"),
    (dict(DUMP, enable_dump_debug=True), "SilentlyAccepted", "exclude each other"),
    (dict(DUMP, dump_mode="outputs"), "ProcessAborted", "dump_mode='outputs'"),
    (dict(DUMP, dump_step="1,2"), "ProcessAborted", "dump_step='1,2'"),
    (dict(DUMP, dump_step="20-10"), "ProcessAborted", "rising"),
    (dict(DUMP, dump_step="|".join(map(str, range(101)))), "ProcessAborted", "at most 100"),
    (dict(DUMP, dump_step=5), "SilentlyAccepted", "in .i, NpuOptimizer .* reads .s"),
    ({"enable_dump_debug": True, "dump_path": "FOLDER", "dump_debug_mode": "bogus"}, "AdapterError", "dump_debug_mode"),
    ({"precision_mode": "force_fp16", "modify_mixlist": "FOLDER/mixlist.json"}, "AdapterError", "needs a precision"),
    ({"modify_mixlist": "FOLDER/missing.json"}, "SilentlyAccepted", "no file with a JSON object"),
    ({"modify_mixlist": "FOLDER/commented.json"}, "SilentlyAccepted", "no file with a JSON object"),
    ({"modify_mixlist": "FOLDER/gray.json"}, "SilentlyAccepted", "section 'gray-list'"),
    ({"modify_mixlist": "FOLDER/added.json"}, "SilentlyAccepted", "'black-list' has {'add'"),
    ({"fusion_switch_file": "FOLDER/missing.cfg"}, "SilentlyAccepted", "Switch"),
    ({"fusion_switch_file": "FOLDER/mixlist.json"}, "SilentlyAccepted", "Switch"),
    ({"profiling_mode": True, "profiling_options": "{'output': 'FOLDER'}"}, "SilentlyAccepted", "no JSON object"),
    ({"profiling_mode": True, "profiling_options": "[]"}, "SilentlyAccepted", "no JSON object"),
    ({"profiling_mode": True, "profiling_options": PROFILE.replace('"on"', "true")}, "SilentlyAccepted", "neither"),
    ({"profiling_mode": True, "profiling_options": PROFILE.replace("task", "tusk")}, "SilentlyAccepted", "unknown key"),
    ({"profiling_mode": True, "profiling_options": '{"output": "FOLDER", "task_trace": "on"}'}, "SilentlyAccepted",
     "needs training_trace"),
    ({"profiling_mode": True, "profiling_options": PROFILE.replace('"bp_point"', '"aic_metrics"')}, "SilentlyAccepted",
     "aic_metrics=''"),
    ({"profiling_mode": True, "profiling_options": PROFILE.replace(', "bp_point": ""', "")}, "SilentlyAccepted",
     "needs fp_point and bp_point"),
    ({"profiling_mode": True, "profiling_options": PROFILE.replace("FOLDER", "/nowhere")}, "SilentlyAccepted",
     "no such folder"),
    ({"profiling_mode": "true"}, "SilentlyAccepted", "in .s, NpuOptimizer .* reads .b"),
    ({"aoe_mode": "on", "work_path": "FOLDER"}, "AdapterError", "aoe_mode='on'"),
    ({"aoe_mode": 2, "work_path": "FOLDER"}, "SilentlyAccepted", "in .i, NpuOptimizer .* reads .s"),
    ({"aoe_mode": "2", "work_path": "/nowhere"}, "ProcessAborted", "work_path=/nowhere"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mixlist.json").write_text('{"black-list": {"to-add": ["ReduceSumD"], "to-remove": []}}')
    (tmp_path / "commented.json").write_text('{"black-list": {}}  // comment')
    (tmp_path / "gray.json").write_text('{"gray-list": {"to-add": []}}')
    (tmp_path / "added.json").write_text('{"black-list": {"add": []}}')
    (tmp_path / "fusion.cfg").write_text('{"Switch": {"GraphFusion": {"ALL": "off"}}}')
    return tmp_path


@pytest.mark.parametrize("parameters, kind, text", REFUSED)
def test_a_session_refuses(graph, folder, parameters, kind, text):
    with pytest.raises(error(kind), match=text):
        tf.Session(config=make_config(dict(BASE, **in_folder(parameters, folder))))
    assert graph.process.sessions == []


@pytest.mark.parametrize("path", ["", "FOLDER/missing", "FOLDER/fusion.cfg"])
def test_a_dump_needs_its_folder(graph, folder, path):
    kind = "ProcessAborted" if graph.version == "r1.6" else "AdapterError"
    parameters = in_folder(dict(BASE, enable_dump=True, dump_path=path), folder)
    with pytest.raises(error(kind), match="dump_path"):
        tf.Session(config=make_config(parameters))


def test_a_dump_folder_is_one_to_read_and_write(graph, folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(folder))
    kind = "ProcessAborted" if graph.version == "r1.6" else "AdapterError"
    with pytest.raises(error(kind), match="cannot be read and written"):
        tf.Session(config=make_config(in_folder(dict(BASE, **DUMP), folder)))


def test_profiling_needs_options(graph):
    kind = "ProcessAborted" if graph.version == "r1.6" else "SilentlyAccepted"
    with pytest.raises(error(kind), match="profiling_options must be set"):
        tf.Session(config=make_config(dict(BASE, profiling_mode=True)))


def test_an_abort_leaves_with_the_status_of_sigabrt(graph, folder):
    with pytest.raises(SystemExit) as raised:
        tf.Session(config=make_config(in_folder(dict(BASE, **DUMP, dump_step="x"), folder)))
    assert raised.value.code == 134


@pytest.mark.parametrize("parameters, text", [
    ({"auto_tune_mode": "RL,GA"}, "auto_tune_mode: no option"),
    ({"jit_compile": True}, "jit_compile is in .b"),
    ({"jit_compile": "maybe"}, "jit_compile='maybe'"),
    ({"precision_mode_v2": "mixed_float16"}, "exclude each other"),
])
def test_a_session_refuses_what_changed_after_r1_6(graph, parameters, text):
    if graph.version in ("r1.6", "r1.8"):  # only auto_tune_mode is known there
        if "auto_tune_mode" in parameters:
            tf.Session(config=make_config(dict(BASE, **parameters))).close()
            return
        text = "no option of NpuOptimizer r1"
    elif graph.version == "r1.12" and "auto_tune_mode" not in parameters:  # jit_compile: r1.10, r1.11, since r1.13
        text = "no option of NpuOptimizer r1.12"
    with pytest.raises((error("AdapterError"), error("SilentlyAccepted")), match=text):
        tf.Session(config=make_config(dict(BASE, **parameters)))


def test_a_precision_mode_of_later_versions_is_refused_by_the_first_ones(graph):
    config = make_config(dict(BASE, precision_mode="allow_mix_precision_bf16"))
    if graph.version in ("r1.6", "r1.8"):
        with pytest.raises(error("AdapterError"), match="allow_mix_precision_bf16"):
            tf.Session(config=config)
    else:
        tf.Session(config=config).close()


@pytest.mark.parametrize("config, text", [
    (None, "without a ConfigProto"),
    (make_config(BASE, optimizers=()), r"custom optimizers \[\]"),
    (make_config(BASE, optimizers=("NpuOptimizer", "NpuOptimizer")), "exactly one"),
    (make_config(BASE, optimizers=("NPUOptimizer",)), "exactly one"),
    (make_config(BASE, switched_off=("remapping",)), "memory_optimization is not OFF"),
    (make_config(BASE, switched_off=("memory_optimization",)), "remapping is not OFF"),
])
@pytest.mark.parametrize("session_class", [tf.Session, tf.InteractiveSession])
def test_a_session_has_one_optimizer_and_no_rewriting(graph, config, text, session_class):
    with pytest.raises(error("SilentlyAccepted"), match=text):
        session_class(config=config)


@pytest.mark.parametrize("environment, text", [
    ({"RANK_SIZE": "2"}, "2 ranks without a rank table"),
    ({"RANK_SIZE": ""}, None),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "table.json"}, None),
    ({"RANK_SIZE": "1", "RANK_TABLE_FILE": "table.json"}, "one device joins HCCL's job of table.json"),
    ({"RANK_TABLE_FILE": "table.json"}, "one device joins"),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "table.json", "CM_CHIEF_IP": "10.0.0.1"}, "at the same time"),
    (CHIEF, "one device joins HCCL's job of 10.0.0.1"),
    (dict(CHIEF, RANK_SIZE="1"), None),
    ({"CM_CHIEF_IP": "10.0.0.1"}, None),
    (dict(CHIEF, CM_WORKER_SIZE="2"), None),
])
def test_a_session_joins_a_job_or_does_not(graph, monkeypatch, environment, text):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if text is None:
        tf.Session(config=make_config(BASE)).close()
    else:
        with pytest.raises(error("SilentlyAccepted"), match=text):
            tf.Session(config=make_config(BASE))


def test_the_first_session_sets_the_process_and_each_its_dumps(graph, folder):
    tf.Session(config=make_config(BASE)).close()
    tf.Session(config=make_config(in_folder(dict(BASE, **DUMP), folder))).close()
    with pytest.raises(error("SilentlyAccepted"), match="precision_mode differs from the first"):
        tf.Session(config=make_config(dict(BASE, precision_mode="force_fp16")))
    with pytest.raises(error("SilentlyAccepted"), match="fusion_switch_file differs from the first"):
        tf.Session(config=make_config(dict(BASE, fusion_switch_file=str(folder / "fusion.cfg"))))
    assert len(graph.process.sessions) == 2


@pytest.mark.parametrize("graph", ["hicann"], indirect=True)
def test_closing_is_recorded_and_garbage_collection_is_not_closing(graph):
    left = tf.Session(config=make_config(BASE))
    closed = tf.Session(config=make_config(BASE))
    closed.close()
    del left
    gc.collect()
    assert [session.is_closed for session in graph.process.sessions] == [False, True]


def test_reset_begins_another_process(graph):
    tf.Session(config=make_config(BASE)).close()
    graph.process.reset()
    assert graph.process.sessions == []
    if not IS_TF1:
        sys.modules["npu_device"].compat.enable_v1()
    tf.Session(config=make_config(dict(BASE, precision_mode="force_fp16"))).close()
    assert graph.process.sessions[0].parameters["precision_mode"] == "force_fp16"


@pytest.mark.skipif(IS_TF1, reason="enable_v1 belongs to the adapter for TensorFlow 2")
@pytest.mark.parametrize("version", GRAPH_VERSIONS)
def test_enable_v1_comes_before_ops_and_sessions_and_without_open(version):
    with tf.Graph().as_default(), fakes.installed(version, "npu_device") as process:
        npu_init = importlib.import_module("npu_device.compat.v1.npu_init")
        assert not hasattr(npu_init, "NPULossScaleOptimizer")  # it needs tf.contrib
        npu_device = sys.modules["npu_device"]
        with pytest.raises(error("SilentlyAccepted"), match="before npu_device.compat.enable_v1"):
            tf.Session(config=make_config(BASE))
        with tf.Graph().as_default(), pytest.raises(error("SilentlyAccepted"), match="after ops"):
            tf.constant(0)
            npu_device.compat.enable_v1()
        npu_device.open(0)
        with pytest.raises(error("SilentlyAccepted"), match="exclude each other"):
            npu_device.compat.enable_v1()
        assert process.sessions == []
