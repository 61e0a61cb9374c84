"""What every NPU flag sets, by version of the adapter, from runs against the fakes: make npu-report.

With --write the table is put into docs/npu.md and its translation, with --check it is compared with them.
"""
from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any, Mapping

from common.cli import shared_flags
from common.cli.parser import FlagSet
from common.devices import npu_options
from common.devices.npu_options import NpuOptions
from common.devices.selection import Device
from common.errors import ZooError
from common.graph import compat, npu
from common.graph.compat import tf
from common.keras import npu as keras_npu
from tests import fakes

ROOT = os.path.dirname(os.path.dirname(fakes.FOLDER))
MODEL = os.path.join(ROOT, "siamese_triplet_tf2")  # has files of a mixlist and of fusion switches
BEGIN, END = "<!-- report:begin -->\n", "<!-- report:end -->"
FLAGS = (
    "", "--precision_mode=allow_mix_precision_bf16", "--precision_mode=adapter_default",
    "--precision_mode_v2=mixed_float16", "--precision_mode_v2=mixed_hif8", "--hf32=False", "--deterministic",
    "--use_mixlist", "--fusion_off_flag", "--auto_tune", "--op_compiler_cache_dir=CACHE", "--data_dump_flag",
    "--over_dump", "--profiling",
)  # fmt: skip
HEADERS = {"docs/npu.md": ("flag", "none", "Keras models: ", "graph models: ", "refused: "),
           "docs/npu.zh-CN.md": ("参数", "无", "Keras 模型：", "计算图模型：", "拒绝：")}
NPU = Device("npu", "0", "npu_device")
Settings = Mapping[str, Any]


def settings(flag: str, version: str, is_eager: bool, folder: str) -> Settings:
    """Return the options that reach an adapter, and `refused` with the reason if they do not.

    Args:
        flag: of a train entry, "" for none.
        version: of the adapter.
        is_eager: whether a Keras model runs, else a graph.
        folder: for files.
    """
    flags = FlagSet("")
    shared_flags.define_training(flags, "Images", 1, 0)
    shared_flags.define_accelerator(flags, "")
    values = flags.parse([flag.replace("CACHE", os.path.join(folder, "cache"))] if flag else [])
    options = npu_options.resolve(values, MODEL, folder, "allow_mix_precision", num_updates=100)
    options.make_folders()
    os.environ.pop("ENABLE_HF32_EXECUTION", None)
    with fakes.installed(version, "npu_device") as process:
        try:
            return _eager_settings(process, options) if is_eager else _session_settings(process, options)
        except ZooError as error:
            return {"refused": str(error).split(":", 1)[1].strip()}


def _eager_settings(process: Any, options: NpuOptions) -> Settings:
    import npu_device

    defaults = npu_device.global_options().as_dict()
    experimental = tf.config.experimental
    experimental.enable_tensor_float_32_execution(True)
    try:
        keras_npu.start(NPU, options)
    finally:
        experimental.enable_tensor_float_32_execution(True)
    (opening,) = process.openings
    found = {name: value for name, value in opening.options.items() if defaults.get(name) != value}
    return found if opening.allows_hf32 else dict(found, allow_hf32="0")


def _session_settings(process: Any, options: NpuOptions) -> Settings:
    with tf.Graph().as_default():
        npu.start(NPU, options)
        tf.Session(config=npu.session_config(NPU, options, threads=1)).close()
    (session,) = process.sessions
    found = {name: "1" if value is True else value for name, value in session.parameters.items()
             if name != "use_off_line"}
    if "ENABLE_HF32_EXECUTION" in session.environment:
        found["ENABLE_HF32_EXECUTION"] = session.environment["ENABLE_HF32_EXECUTION"]
    return found


def tables() -> dict[str, str]:
    """Return the table of each page, by path."""
    compat.enable()
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        for version in fakes.VERSIONS:
            for is_eager in (True, False):
                usual = settings("", version, is_eager, folder)
                for flag in FLAGS:
                    found = settings(flag, version, is_eager, folder) if flag else usual
                    if flag and "refused" not in found:
                        found = _difference(found, usual)
                    cells[flag, version, is_eager] = _described(found)
    return {path: _table(cells, *words) for path, words in HEADERS.items()}


def _difference(found: Settings, usual: Settings) -> Settings:
    changed = {name: value for name, value in found.items() if usual.get(name) != value}
    return dict(changed, **{name: None for name in usual if name not in found})


def _described(found: Settings) -> list[str]:
    parts = []
    for name, value in sorted(found.items()):
        if name == "refused":
            parts.append(f"refused: {value}")
        elif value is None:
            parts.append(f"~~`{name}`~~")
        elif name == "profiling_options":
            parts.append(f"`{name}` ({', '.join(key for key in json.loads(value) if key != 'output')})")
        else:
            parts.append(f"`{name}={os.path.basename(value) if os.path.sep in str(value) else value}`")
    return parts


def _table(cells: Mapping[tuple[str, str, bool], list[str]], flag_word: str, none: str, keras: str, graph: str,
           refused: str) -> str:
    lines = [f"| {flag_word} | {' | '.join(fakes.VERSIONS)} |", "|" + "---|" * (1 + len(fakes.VERSIONS))]
    for flag in FLAGS:
        row = [f"`{flag}`" if flag else none]
        for version in fakes.VERSIONS:
            eager, session = ("<br>".join(cells[flag, version, is_eager]).replace("refused: ", refused)
                              for is_eager in (True, False))
            row.append(eager if eager == session else f"{keras}{eager}<br>{graph}{session}")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the table, write it or check it; return 1 if a page is stale."""
    status = 0
    for path, table in tables().items():
        if sys.argv[1:] not in (["--write"], ["--check"]):
            print(table)
            break
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            page = file.read()
        start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
        written = page[:start] + table + page[end:]
        if written != page and sys.argv[1] == "--check":
            print(f"{path}: the table is stale, run 'make docs'")
            status = 1
        elif written != page:
            with open(os.path.join(ROOT, path), "w", encoding="utf-8") as file:
                file.write(written)
    return status


if __name__ == "__main__":
    sys.exit(main())
