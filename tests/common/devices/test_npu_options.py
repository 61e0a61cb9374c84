"""Flags for the adapter are checked before anything starts."""
from __future__ import annotations

import json

import pytest

from common.cli import shared_flags
from common.cli.parser import FlagSet
from common.devices import npu_options
from common.errors import FlagError


def resolve(tmp_path, *arguments):
    return npu_options.resolve(parsed(*arguments), str(tmp_path), str(tmp_path / "run"), "allow_fp32_to_fp16",
                               num_updates=20)


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "ops_info.json").write_text(json.dumps({"black-list": {"to-add": ["ReduceSumD"], "to-remove": []}}))
    (folder / "fusion_switch.cfg").write_text(json.dumps({"Switch": {"GraphFusion": {"ALL": "off"}}}))
    return folder


def test_defaults(tmp_path):
    options = resolve(tmp_path)
    assert options == npu_options.NpuOptions("allow_fp32_to_fp16")
    options.make_folders()
    assert list(tmp_path.iterdir()) == []


def test_folders_are_in_the_run_directory_and_made_on_request_alone(tmp_path):
    options = resolve(tmp_path, "--over_dump", "--profiling", "--auto_tune")
    run = tmp_path / "run"
    assert (options.over_dump_path, options.profiling_path, options.tuning_path) == (
        str(run / "overflow_dump"), str(run / "profiling"), str(run / "tuning"))
    assert not run.exists()
    options.make_folders()
    assert sorted(path.name for path in run.iterdir()) == ["overflow_dump", "profiling", "tuning"]


def test_given_folders(tmp_path):
    options = resolve(tmp_path, "--data_dump_flag=True", f"--data_dump_path={tmp_path / 'd'}", "--data_dump_step=0|5")
    assert (options.data_dump_path, options.data_dump_step) == (str(tmp_path / "d"), "0|5")


def test_both_dumps_are_refused(tmp_path):
    with pytest.raises(FlagError, match="exclude each other"):
        resolve(tmp_path, "--over_dump", "--data_dump_flag")


def test_mixlist_implies_a_mixed_mode(tmp_path, configs):
    options = resolve(tmp_path, "--use_mixlist")
    assert (options.precision_mode, options.mixlist_file) == ("allow_mix_precision", str(configs / "ops_info.json"))


def test_mixlist_with_another_mode_is_refused(tmp_path, configs):
    with pytest.raises(FlagError, match="not of --precision_mode=force_fp16"):
        resolve(tmp_path, "--use_mixlist", "--precision_mode=force_fp16")


def test_current_directory_comes_before_configs(tmp_path, configs, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "fusion_switch.cfg").write_text('{"Switch": {}}')
    assert resolve(tmp_path, "--fusion_off_flag").fusion_switch_file == str(configs / "fusion_switch.cfg")
    monkeypatch.chdir(str(tmp_path / "here"))
    assert resolve(tmp_path, "--fusion_off_flag").fusion_switch_file == str(tmp_path / "here" / "fusion_switch.cfg")


@pytest.mark.parametrize("flag, file_flag", [("--use_mixlist", "mixlist_file"), ("--fusion_off_flag",
                                                                                 "fusion_off_file")])
def test_missing_files_are_refused(tmp_path, flag, file_flag):
    with pytest.raises(FlagError, match=f"--{file_flag}=.*no such file"):
        resolve(tmp_path, flag)


@pytest.mark.parametrize("content", ["// comment\n{}", "[]", '{"gray-list": {}}', '{"black-list": {"add": []}}',
                                     '{"black-list": []}'])
def test_mixlists_that_the_adapter_would_not_take(tmp_path, content):
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(FlagError, match="--mixlist_file"):
        resolve(tmp_path, "--use_mixlist", f"--mixlist_file={tmp_path / 'list.json'}")


@pytest.mark.parametrize("content", ["", "{}", '{"Switch": 1}'])
def test_fusion_files_that_the_adapter_would_not_take(tmp_path, content):
    (tmp_path / "f.cfg").write_text(content)
    with pytest.raises(FlagError, match="--fusion_off_file"):
        resolve(tmp_path, "--fusion_off_flag", f"--fusion_off_file={tmp_path / 'f.cfg'}")


def test_steps_that_the_run_does_not_reach_are_refused(tmp_path):
    assert resolve(tmp_path, "--data_dump_flag", "--data_dump_step=30|20").data_dump_step == "30|20"
    with pytest.raises(FlagError, match="the run has 20 updates and reaches none of these steps"):
        resolve(tmp_path, "--data_dump_flag", "--data_dump_step=21|30")


def test_wrong_dump_step_is_refused_before_the_run(tmp_path):
    with pytest.raises(FlagError, match="--data_dump_step=x"):
        resolve(tmp_path, "--data_dump_step=x")


def parsed(*arguments):
    flags = FlagSet("")
    shared_flags.define_training(flags, "Images", 1, 0)
    shared_flags.define_accelerator(flags, "allow_fp32_to_fp16")
    return flags.parse(list(arguments))


@pytest.mark.parametrize("kind, wanted", [
    ("cpu", ["use_mixlist", "auto_tune", "op_compiler_cache_dir", "hf32", "precision_mode"]),
    ("gpu", ["use_mixlist", "auto_tune", "op_compiler_cache_dir", "hf32"]),
])
def test_what_does_nothing_on_another_device_says_so(kind, wanted):
    values = parsed("--use_mixlist", "--auto_tune", "--precision_mode=allow_mix_precision", "--hf32=False",
                    "--op_compiler_cache_dir=x")
    assert npu_options.notices(values, npu_options.NpuOptions("x"), kind) == [
        f"Warning: --{name} has no effect on a {kind}" for name in wanted]


@pytest.mark.parametrize("flags, precision, words", [
    ([], "allow_fp32_to_fp16", []),
    (["--precision_mode=allow_mix_precision"], "allow_mix_precision", []),
    (["--precision_mode=force_fp16"], "force_fp16", ["Warning: force_fp16 is documented for inference"]),
    (["--precision_mode_v2=fp16"], "fp16", ["Warning: fp16 is documented for inference"]),
    (["--precision_mode=adapter_default", "--npu_product=910A"], "adapter_default",
     ["Notice: the adapter's default precision is allow_fp32_to_fp16; adapters older than r1.13"]),
    (["--precision_mode=adapter_default", "--npu_product=A2"], "adapter_default",
     ["default precision is must_keep_origin_dtype;", "convolutions are computed in HF32; --hf32=False"]),
    (["--precision_mode=adapter_default"], "adapter_default",
     ["allow_fp32_to_fp16 on Ascend 910A, must_keep_origin_dtype on A2, A3 and 950", "HF32"]),
    (["--precision_mode=force_fp32", "--npu_product=910A"], "force_fp32", []),
    (["--precision_mode=force_fp32", "--npu_product=A3"], "force_fp32", ["HF32"]),
    (["--precision_mode=force_fp32", "--hf32=False"], "force_fp32, without HF32", []),
    (["--precision_mode_v2=origin", "--hf32"], "origin, with HF32", []),
])
def test_what_a_precision_means_is_said(tmp_path, flags, precision, words):
    options = resolve(tmp_path, *flags)
    assert options.precision == precision
    lines = npu_options.notices(parsed(*flags), options, "npu")
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines))


@pytest.mark.parametrize("flags, mixes", [
    (["--precision_mode=allow_mix_precision"], True), (["--precision_mode_v2=mixed_float16"], True),
    (["--precision_mode_v2=mixed_bfloat16"], False), (["--precision_mode=adapter_default"], False),
])
def test_modes_that_mix_float16_in(tmp_path, flags, mixes):
    assert resolve(tmp_path, *flags).mixes_float16 == mixes


def test_both_precision_modes_are_refused(tmp_path):
    with pytest.raises(FlagError, match="--precision_mode and --precision_mode_v2 exclude each other"):
        resolve(tmp_path, "--precision_mode=force_fp16", "--precision_mode_v2=fp16")


def test_mixlists_of_the_newer_modes(tmp_path, configs):
    options = resolve(tmp_path, "--use_mixlist", "--precision_mode_v2=mixed_float16")
    assert (options.precision_mode, options.precision_mode_v2) == (None, "mixed_float16") and options.mixlist_file
    with pytest.raises(FlagError, match="not of --precision_mode_v2=origin: use mixed_float16 or mixed_bfloat16"):
        resolve(tmp_path, "--use_mixlist", "--precision_mode_v2=origin")


def test_profiling_asks_for_what_the_original_did_and_the_adapters_do():
    """The originals: all but hccl and task_time. The adapters' own default: all but the points."""
    assert json.loads(npu_options.profiling_options("/p")) == dict(
        output="/p", training_trace="on", task_trace="on", task_time="on", hccl="on", aicpu="on",
        aic_metrics="PipeUtilization", fp_point="", bp_point="")


@pytest.mark.parametrize("text, wanted", [("10", [(10, 10)]), ("0|5|10-20", [(0, 0), (5, 5), (10, 20)])])
def test_dump_steps(text, wanted):
    assert npu_options.parse_dump_steps(text) == wanted


@pytest.mark.parametrize("text", ["", "a", "5-", "5-5", "9-3", "1,2", "|".join(["1"] * 101)])
def test_wrong_dump_steps(text):
    with pytest.raises(FlagError):
        npu_options.parse_dump_steps(text)
