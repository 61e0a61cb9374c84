"""The fakes do what was recorded of the real adapters, and refuse what those take and ignore.

Oracle: `behaviour_probes` and `as_dict_defaults` in npu_device_options.json, outcomes of executing the adapters' own
configuration code.
"""
from __future__ import annotations

import ast
import gc
import importlib
import json
import os
import subprocess
import sys
import types

import pytest

from common.graph import compat
from common.graph.compat import tf
from tests import fakes

SNAPSHOTS = {
    "r1.8": "Ascend/tensorflow@r1.8.0",
    "r1.12": "Ascend/tensorflow@r1.12.0",
    "tfa_v0.0.20": "Ascend/tensorflow@tfa_v0.0.20_7.0.0.alpha003",
    "hicann": "hicann/tensorflow@master",
}
IS_TF1 = tf.__version__.startswith("1.")
GRAPH_VERSIONS = fakes.BRIDGE_VERSIONS if IS_TF1 else fakes.VERSIONS
GOLDEN = os.path.join(os.path.dirname(fakes.FOLDER), "golden", "npu")


def recorded(version):
    with open(os.path.join(GOLDEN, "npu_device_options.json"), encoding="utf-8") as file:
        return json.load(file)["snapshots"][SNAPSHOTS[version]]


def error(name):
    """An exception of the fakes, which are loaded anew for each test."""
    return getattr(importlib.import_module("adapter_schema"), name)


def assign(config, path, value):
    *parents, name = path.split(".")
    for parent in parents:
        config = getattr(config, parent)
    setattr(config, name, value)


def in_folder(options, folder):
    """Put a folder's path in the place of FOLDER."""
    return {name: value.replace("FOLDER", str(folder)) if isinstance(value, str) else value
            for name, value in options.items()}


@pytest.fixture(autouse=True)
def graph_mode():
    compat.enable()


@pytest.fixture(params=fakes.VERSIONS)
def eager(request):
    with fakes.installed(request.param, "npu_device") as process:
        yield types.SimpleNamespace(version=request.param, process=process, npu=importlib.import_module("npu_device"))


@pytest.fixture(params=GRAPH_VERSIONS)
def graph(request):
    with tf.Graph().as_default(), fakes.installed(request.param, "npu_bridge" if IS_TF1 else "npu_device") as process:
        if IS_TF1:
            importlib.import_module("npu_bridge.npu_init")
        else:
            importlib.import_module("npu_device.compat.v1.npu_init")
            sys.modules["npu_device"].compat.enable_v1()
        yield types.SimpleNamespace(version=request.param, process=process)


# npu_device.global_options(): the real behaviour


@pytest.mark.parametrize("version", fakes.VERSIONS)
def test_options_behave_as_recorded(version, capsys):
    probes = recorded(version)["behaviour_probes"]
    assert len(probes) == 31
    outcomes = {}
    with fakes.installed(version, "npu_device"):
        config = importlib.import_module("npu_device.npu_config")
        for probe in probes:
            path, _, value = probe.partition(" = ")
            options = config.make()
            try:
                assign(options, path, ast.literal_eval(value))
                outcome = f"ok -> {options.as_dict().get(path.split('.')[-1])!r}"
            except (AttributeError, TypeError, ValueError) as raised:
                outcome = f"{type(raised).__name__}: {raised}"
            printed = capsys.readouterr().out.strip()
            outcomes[probe] = outcome + (f"  [prints: {printed}]" if printed else "")
    assert outcomes == probes


def test_defaults_are_as_recorded(eager):
    assert eager.npu.global_options().as_dict() == recorded(eager.version)["as_dict_defaults"]


def test_reading_an_option_gives_its_choices_and_an_unknown_one_fails(eager):
    option = eager.npu.global_options().precision_mode
    assert option.value == option.default == recorded(eager.version)["options"]["precision_mode"]["default"]
    assert "allow_mix_precision" in option.optional
    with pytest.raises(AttributeError):
        eager.npu.global_options().presicion_mode  # noqa: B018


# npu_device.open()


def test_open_reads_the_options_and_the_environment(eager, monkeypatch):
    monkeypatch.setenv("ASCEND_DEVICE_ID", "3")
    eager.npu.global_options().precision_mode = "force_fp16"
    assert eager.npu.open().as_default().name().endswith("NPU:0")
    opening, = eager.process.openings
    assert (opening.device_id, opening.num_as_default) == (3, 1)
    assert opening.options["precision_mode"] == "force_fp16" and opening.environment["ASCEND_DEVICE_ID"] == "3"


@pytest.mark.parametrize("device_id", ["", "abc"])
def test_open_refuses_a_device_id_that_is_no_number(eager, monkeypatch, device_id):
    monkeypatch.setenv("ASCEND_DEVICE_ID", device_id)
    with pytest.raises(ValueError, match="invalid literal"):
        eager.npu.open()


def test_open_refuses_a_loop_size_of_the_environment(monkeypatch):
    monkeypatch.setenv("NPU_LOOP_SIZE", "32")
    with fakes.installed("hicann", "npu_device"):
        npu_device = importlib.import_module("npu_device")
        monkeypatch.delenv("NPU_LOOP_SIZE")  # too late
        with pytest.raises(error("SilentlyAccepted"), match="NPU_LOOP_SIZE=32 makes 32 steps"):
            npu_device.open(0)


def test_a_second_opening_gives_the_same_handle_or_is_refused(eager):
    handle = eager.npu.open(0)
    assert eager.npu.open(0) is handle
    with pytest.raises(RuntimeError, match="on device 1 as existed instance on 0"):
        eager.npu.open(1)
    assert len(eager.process.openings) == 1


def test_as_default_is_called_once(eager):
    handle = eager.npu.open(0).as_default()
    with pytest.raises(error("SilentlyAccepted"), match="called again"):
        handle.as_default()


CHIEF = dict(CM_CHIEF_IP="10.0.0.1", CM_CHIEF_PORT="6000", CM_CHIEF_DEVICE="0")


@pytest.mark.parametrize("environment, kind, text", [
    ({"RANK_SIZE": ""}, "ValueError", "invalid literal"),
    ({"RANK_SIZE": "2"}, "RuntimeError", "RANK_TABLE_FILE"),
    ({"RANK_SIZE": "2", "RANK_TABLE_FILE": "FOLDER/table.json"}, "RuntimeError", "RANK_ID"),
    ({"RANK_SIZE": "1", "RANK_TABLE_FILE": "missing", "CM_CHIEF_IP": "10.0.0.1"}, None, ""),
    ({"RANK_SIZE": "2", "RANK_ID": "1", "RANK_TABLE_FILE": "FOLDER/table.json"}, None, ""),
    ({"RANK_SIZE": "2", "RANK_ID": "2", "RANK_TABLE_FILE": "FOLDER/table.json"}, "SilentlyAccepted", "has the ranks"),
    ({"RANK_SIZE": "4", "RANK_ID": "1", "RANK_TABLE_FILE": "FOLDER/table.json"}, "SilentlyAccepted", "of 4"),
    ({"RANK_SIZE": "2", "RANK_ID": "1", "RANK_TABLE_FILE": "FOLDER/missing"}, "SilentlyAccepted", "JSON object"),
])
def test_the_ranks_environment(eager, monkeypatch, tmp_path, environment, kind, text):
    expect_opening(eager, monkeypatch, tmp_path, environment, kind, text)


@pytest.mark.parametrize("environment, kind, text", [
    ({"RANK_SIZE": "1", "CM_WORKER_SIZE": "1"}, "ValueError", "at the same time"),
    ({"CM_WORKER_SIZE": "1"}, None, ""),
    ({"CM_WORKER_SIZE": "2"}, "RuntimeError", "CM_CHIEF_IP or RANK_TABLE_FILE"),
    (dict(CHIEF, RANK_SIZE="2", RANK_ID="0", RANK_TABLE_FILE="FOLDER/table.json"), "RuntimeError", "one of them"),
    ({"CM_WORKER_SIZE": "2", "CM_CHIEF_IP": "10.0.0.1"}, "RuntimeError", "CM_CHIEF_PORT"),
    ({"CM_WORKER_SIZE": "2", "CM_CHIEF_IP": "10.0.0.1", "CM_CHIEF_PORT": "6000"}, "RuntimeError", "CM_CHIEF_DEVICE"),
    (dict(CHIEF, CM_WORKER_SIZE="2"), None, ""),
])
@pytest.mark.parametrize("eager", fakes.VERSIONS[1:], indirect=True)  # r1.8 knows no chief
def test_the_ranks_environment_with_a_chief(eager, monkeypatch, tmp_path, environment, kind, text):
    expect_opening(eager, monkeypatch, tmp_path, environment, kind, text)


@pytest.mark.parametrize("environment, text", [
    ({"ZOO_FAKE_PRODUCT": "910A", "RANK_SIZE": "2", "RANK_ID": "1", "RANK_TABLE_FILE": "FOLDER/table.json"},
     r"cards \[3, 4\] of an Ascend 910A"),
    (dict(CHIEF, CM_WORKER_SIZE="2", ZOO_FAKE_PRODUCT="A3"), "A3 needs a rank table"),
])
@pytest.mark.parametrize("eager", ["hicann"], indirect=True)
def test_the_ranks_environment_by_product(eager, monkeypatch, tmp_path, environment, text):
    expect_opening(eager, monkeypatch, tmp_path, environment, "SilentlyAccepted", text)


def expect_opening(eager, monkeypatch, folder, environment, kind, text):
    (folder / "table.json").write_text(json.dumps(dict(server_list=[dict(device=[
        dict(device_id=card, rank_id=str(rank)) for rank, card in enumerate("34")])])))
    for name in ("RANK_SIZE", "RANK_TABLE_FILE", "RANK_ID", "CM_WORKER_SIZE", *CHIEF):
        monkeypatch.delenv(name, raising=False)
    for name, value in in_folder(environment, folder).items():
        monkeypatch.setenv(name, value)
    if kind is None:
        eager.npu.open(0)
        return
    kinds = dict(ValueError=ValueError, RuntimeError=RuntimeError, SilentlyAccepted=error("SilentlyAccepted"))
    with pytest.raises(kinds[kind], match=text):
        eager.npu.open(0)
    assert eager.process.openings == []


@pytest.mark.parametrize("eager", ["hicann"], indirect=True)
def test_open_refuses_variables_from_before_it(eager, monkeypatch):
    class Variable:
        _in_graph_mode = False

    tensorflow = types.SimpleNamespace(Variable=Variable, executing_eagerly=lambda: True)
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    older = Variable()
    eager.process.reset()
    newer = Variable()
    with pytest.raises(error("SilentlyAccepted"), match="variables from before"):
        eager.npu.open(0)
    del newer
    gc.collect()
    eager.npu.open(0)
    assert older is not None


def test_open_and_enable_v1_exclude_each_other(eager):
    eager.process.is_v1_enabled = True
    with pytest.raises(error("SilentlyAccepted"), match="exclude each other"):
        eager.npu.open(0)


@pytest.mark.parametrize("settings, text", [
    ({"dump_config": True}, "replaces a whole sub-config"),
    ({"dump_config.dump_path": 5}, "no str"),
    ({"dump_config.dump_step": 5}, "no str"),
    ({"profiling_config.profiling_options": {"output": "."}}, "no str"),
    ({"dump_config.enable_dump": True}, "dump_path is not set"),
    ({"dump_config.enable_dump": True, "dump_config.dump_path": "FOLDER/missing"}, "no such folder"),
    ({"dump_config.enable_dump": True, "dump_config.enable_dump_debug": True, "dump_config.dump_path": "FOLDER"},
     "exclude each other"),
    ({"dump_config.enable_dump": True, "dump_config.dump_path": "FOLDER", "dump_config.dump_step": "1,2"}, "dump_step"),
    ({"precision_mode": "allow_fp32_to_fp16", "modify_mixlist": "FOLDER/mixlist.json"}, "needs a precision_mode"),
    ({"fusion_switch_file": "FOLDER/mixlist.json"}, "Switch"),
    ({"profiling_config.enable_profiling": True, "profiling_config.profiling_options": "{'output': '.'}"}, "no JSON"),
])
def test_open_refuses_what_the_real_one_ignores(eager, tmp_path, settings, text):
    (tmp_path / "mixlist.json").write_text("{}")
    for path, value in in_folder(settings, tmp_path).items():
        assign(eager.npu.global_options(), path, value)
    with pytest.raises(error("SilentlyAccepted"), match=text):
        eager.npu.open(0)
    assert eager.process.openings == []


@pytest.mark.parametrize("settings, text, since", [
    ({"op_debug_level": 2}, "op_debug_level is deprecated", "r1.12"),
    ({"precision_mode": "force_fp16", "precision_mode_v2": "fp16"}, "exclude each other", "tfa_v0.0.20"),
    ({"aoe_config.aoe_mode": "2", "aoe_config.work_path": "/nowhere"}, "work_path=/nowhere: no such folder", "r1.12"),
])
@pytest.mark.parametrize("eager", fakes.VERSIONS[1:], indirect=True)
def test_open_refuses_what_newer_versions_ignore(eager, settings, text, since):
    if fakes.VERSIONS.index(eager.version) < fakes.VERSIONS.index(since):
        text = "has no option|exclude"
    with pytest.raises((error("SilentlyAccepted"), ValueError), match=text):  # noqa: PT012
        for path, value in settings.items():
            assign(eager.npu.global_options(), path, value)
        eager.npu.open(0)


@pytest.mark.parametrize("path", ["precision_mode", "dump_config.dump_mode"])
def test_an_option_is_not_set_after_open(eager, path):
    eager.npu.open(0)
    with pytest.raises(error("SilentlyAccepted"), match="after open"):
        assign(eager.npu.global_options(), path, "all")


# which adapter can be imported


def test_compat_exists_since_r1_8(eager):
    assert hasattr(eager.npu, "compat")


def test_npu_device_of_r1_6_is_for_tensorflow_2_4():
    with fakes.installed("r1.6", "npu_device"):
        assert not hasattr(importlib.import_module("npu_device"), "compat")
        with pytest.raises(ImportError, match="npu_device.compat"):
            importlib.import_module("npu_device.compat.v1.npu_init")


@pytest.mark.parametrize("module", ["npu_device", "npu_device.compat.v1.npu_init"])
def test_npu_device_for_tensorflow_2_13_cannot_be_imported(module):
    with fakes.installed("tf2.13", "npu_device"), pytest.raises(AttributeError, match="no attribute 'experimental'"):
        importlib.import_module(module)


def test_the_adapter_of_the_other_tensorflow_does_not_import():
    adapter, module = (("npu_device", "npu_device.compat.v1.npu_init") if IS_TF1 else
                       ("npu_bridge", "npu_bridge.npu_init"))
    with fakes.installed("hicann", adapter), pytest.raises(ImportError):
        importlib.import_module(module)


def test_only_the_adapter_that_is_installed_can_be_found():
    with fakes.installed("hicann", "npu_bridge"):
        assert importlib.util.find_spec("npu_bridge") and not importlib.util.find_spec("npu_device")
    assert not importlib.util.find_spec("npu_bridge") and not importlib.util.find_spec("npu_device")


@pytest.mark.parametrize("adapter", fakes.ADAPTERS)
def test_another_process_has_one_adapter(tmp_path, adapter):
    script = "import adapter_schema; from common.devices.selection import ADAPTERS; " \
             "from importlib.util import find_spec; " \
             "print(*[name for name in ADAPTERS if find_spec(name)], " \
             "adapter_schema.snapshot(adapter_schema.version())['option_count'])"
    root = os.path.dirname(os.path.dirname(fakes.FOLDER))
    output = subprocess.run([sys.executable, "-c", script], env=fakes.environment(str(tmp_path), "r1.6", adapter),
                            cwd=root, stdout=subprocess.PIPE, check=True).stdout
    assert output.decode().split() == [adapter, "28"]


# sessions of a graph adapter


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
