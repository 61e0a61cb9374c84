"""Count what every model survives: python3 -m tests.robustness [SECTION ...] [--kills=N] [--fuzz_seconds=60] [--write].

Every test is reported when it ends, and the rows of a job when all its tests have. At the end come the table, in
Markdown, and the status: 1 if anything was lost.
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, NamedTuple
from xml.etree import ElementTree

from tests import ROOT
from tests.kill_and_resume import SUBJECTS
from tests.robustness import table
from tests.robustness.programs import MODELS
from tests.robustness.table import Row

DAMAGED = ("damaged files, {seconds:g} s", "损坏的文件，{seconds:g} 秒")
WRONG = ("wrong flags, environments, configurations: one line, status 1 or 2, nothing written",
         "错误的参数、环境变量与配置：一行错误，退出码 1 或 2，不写任何文件")
HOSTILE = ("hostile files: pickle, npy, npz, h5, png, jpg, bmp, gif, mp4, xml, json, rank table, zip, tar, bin, links",
           "恶意文件：pickle、npy、npz、h5、png、jpg、bmp、gif、mp4、xml、json、rank table、zip、tar、bin、链接")
KILLED = ("killed with SIGKILL: {writing} in checkpoint writes, {evaluating} in evaluations, {other} at other moments; "
          "final weights and metrics bit-equal",
          "用 SIGKILL 终止：写检查点时 {writing} 次，评估时 {evaluating} 次，其他时刻 {other} 次；"
          "最终权重与指标逐位相同")


class Section(NamedTuple):
    """Tests of one kind.

    Attributes:
        file: that has them.
        rows: what a test function does, in English and in Chinese, by its name.
        subject: of all rows; "" if each parameter of a test is one.
        is_long: whether it is not done together with the other sections of its file.
    """

    file: str
    rows: dict
    subject: str = "all models"
    is_long: bool = False


CONDITIONS, PATHS = "test_conditions.py", "test_paths.py"
SECTIONS = {
    "fuzz": Section("test_fuzz.py", {"test_damaged_files_are_read_or_refused_in_one_line": DAMAGED,
                                     "test_rows_of_metrics_end_where_they_are_damaged": DAMAGED}, ""),
    "memory": Section(CONDITIONS, {"test_memory_is_flat": (
        "memory flat over 5,000 steps: at most 30 MB more at their end than after 1,500",
        "5,000 步内存平稳：结束时比 1,500 步时至多多 30 MB")}, is_long=True),
    "data": Section(CONDITIONS, {
        "test_data_that_vanish": ("data that vanish during a run; resumed when they are back",
                                  "运行中数据消失；恢复数据后续训"),
        "test_data_that_change": ("data that are overwritten during a run; resumed when they are back",
                                  "运行中数据被改写；恢复数据后续训")}),
    "disk": Section(CONDITIONS, {"test_a_full_disk": ("disk full; resumed with more space",
                                                      "磁盘写满；腾出空间后续训")}),
    "readonly": Section(CONDITIONS, {"test_a_read_only_output": ("output read-only", "输出目录只读")}),
    "user": Section(CONDITIONS, {"test_a_user_without_privileges": ("user without privileges or home",
                                                                    "无特权、无主目录的用户")}),
    "environments": Section(CONDITIONS, {
        "test_home_is_unset": ("HOME unset", "未设置 HOME"), "test_python_without_asserts": ("python -O", "python -O"),
        "test_locale_c": ("locale C, data in a folder with a non-ASCII name",
                          "区域设置 C，数据目录名含非 ASCII 字符"),
        "test_clock_goes_backwards": ("clock going backwards", "时钟倒退")}),
    "stdout": Section(CONDITIONS, {"test_stdout_is_closed": ("stdout and stderr closed", "标准输出与标准错误均关闭")}),
    "twice": Section(CONDITIONS, {"test_two_runs_at_once": ("two runs at once", "同时启动两个运行")}),
    "paths": Section(PATHS, {
        "test_train_resume_evaluate_and_export_in_folders_of_any_name": (
            "trained, resumed, evaluated, exported in folders of odd names",
            "在名称奇特的目录中训练、续训、评估和导出"),
        "test_scripts_and_modelarts_in_folders_of_any_name": (
            "scripts and ModelArts entries in folders of odd names", "脚本与 ModelArts 入口在名称奇特的目录中")}),
    "inputs": Section("test_bad_inputs.py", {
        "test_wrong_flags_are_refused": WRONG, "test_wrong_environments_are_refused": WRONG,
        "test_damaged_configurations_are_refused": WRONG}, ""),
    "hostile": Section("test_hostile.py", {"": HOSTILE}, "readers"),  # all its tests
}


def main(argv: list[str]) -> int:
    """Run sections, all by default, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"kills, {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--kills", type=int, default=50, help="of each model")
    parser.add_argument("--fuzz_seconds", type=float, default=60.0, help="for each reader")
    parser.add_argument("--jobs", type=int, default=2, help="at a time; as many as there are cores")
    parser.add_argument("--write", action="store_true", help=f"put the rows into {' and '.join(table.PAGES)}")
    arguments = parser.parse_args(argv)
    names = arguments.sections or ["kills", *SECTIONS]
    unknown = set(names) - {"kills", *SECTIONS}
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                            check=False).stdout.strip()
    measured = f"{datetime.date.today().isoformat()}, {commit or 'unknown'}"
    started = time.monotonic()
    jobs: list[Callable[[], list[Row]]] = []  # the longest ones first
    together: dict = {}
    for name, section in SECTIONS.items():
        if name in names:
            together.setdefault((section.file, section.is_long), []).append(section)
    for (file, _), sections in together.items():
        models = [model.name for model in MODELS] if file in (CONDITIONS, PATHS) else [""]
        jobs += [lambda sections=sections, model=model: _tests(sections, model, arguments.fuzz_seconds)
                 for model in models]
    if "kills" in names:
        jobs[1:1] = [lambda model=model: _kills(model, arguments.kills) for model in SUBJECTS]

    def run(job):
        found = job()
        print(*(row.line(0, measured) for row in found), sep="\n", flush=True)
        return found

    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = table.add_up([row for found in pool.map(run, jobs) for row in found])
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes\n\n{table.render(rows, measured)}")
    if arguments.write:
        table.update_pages([row for row in rows if row.tried], measured)
    return 1 if any(row.lost for row in rows) else 0


def _kills(model: str, kills: int) -> list[Row]:
    """Kill runs of a model in two processes, each of which does half of it."""
    halves = [subprocess.Popen([sys.executable, "-m", "tests.kill_and_resume", model, f"--kills={number}",
                                f"--seed={seed}"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
              for seed, number in enumerate((kills - kills // 2, kills // 2)) if number]
    hits = dict(writing=0, evaluating=0, other=0)
    has_failed = False
    for half in halves:
        out, _ = half.communicate()
        if half.returncode:
            has_failed = True
            print(out[-3000:], file=sys.stderr)
        else:
            found = json.loads(out.splitlines()[-1])["kills"]
            hits = {moment: hits[moment] + found[moment] for moment in hits}
    tried = sum(hits.values()) or kills
    print(f"tests.kill_and_resume {model}: {tried} kills {'FAILED' if has_failed else 'PASSED'}", flush=True)
    return [Row(model, tuple(text.format(**hits) for text in KILLED), tried, tried if has_failed else 0)]


def _tests(sections: list[Section], model: str, fuzz_seconds: float) -> list[Row]:
    """Run the tests of sections of one file, of a model or all, which pytest reports one by one; return their rows."""
    file = sections[0].file
    functions = {function: section for section in sections for function in section.rows}
    chosen = " or ".join(functions)
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.xml")
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pytest", "-vv", "--no-header", "-m", "slow or not slow",
             f"--junitxml={report}", "-o", "junit_family=xunit1", os.path.join("tests", "robustness", file),
             "-k", f"{model} and ({chosen})" if model else chosen], cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, ZOO_FUZZ_SECONDS=str(fuzz_seconds)))
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
        status = process.wait()
        if not os.path.exists(report):  # the interpreter has died
            return [Row(file, (f"ended with status {status}",) * 2, 1, 1)]
        cases = list(ElementTree.parse(report).iter("testcase"))
    counts: dict = {}
    for case in cases:
        function, _, parameter = case.get("name", "").rstrip("]").partition("[")
        section = functions.get(function, functions.get(""))
        if section is None or case.find("skipped") is not None:
            continue
        what = section.rows.get(function, section.rows.get(""))
        recorded = {one.get("name"): one.get("value") for one in case.iter("property")}
        if "note" in recorded:
            print(f"{case.get('name')}: {recorded['note']}")
        subject = section.subject or recorded.get("subject", parameter)
        tried, lost = counts.get((subject, what), (0, 0))
        failed = case.find("failure") is not None or case.find("error") is not None
        counts[subject, what] = tried + int(recorded.get("tried", 1)), lost + failed
    rows = [Row(subject, tuple(text.format(seconds=fuzz_seconds) for text in what), *found)
            for (subject, what), found in counts.items()]
    if status and not any(row.lost for row in rows):
        rows.append(Row(file, (f"ended with status {status}",) * 2, 1, 1))
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
