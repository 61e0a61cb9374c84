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

from tests import fakes
from tests.common.fakes.outcomes import CHIEF, IS_TF1, error, in_folder

pytestmark = pytest.mark.usefixtures("graph_mode")

SNAPSHOTS = {
    "r1.8": "Ascend/tensorflow@r1.8.0",
    "r1.12": "Ascend/tensorflow@r1.12.0",
    "tfa_v0.0.20": "Ascend/tensorflow@tfa_v0.0.20_7.0.0.alpha003",
    "hicann": "hicann/tensorflow@master",
}
GOLDEN = os.path.join(os.path.dirname(fakes.FOLDER), "golden", "npu")


def recorded(version):
    with open(os.path.join(GOLDEN, "npu_device_options.json"), encoding="utf-8") as file:
        return json.load(file)["snapshots"][SNAPSHOTS[version]]


def assign(config, path, value):
    *parents, name = path.split(".")
    for parent in parents:
        config = getattr(config, parent)
    setattr(config, name, value)


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
