"""Count what every model survives: python3 -m tests.robustness [--kills=50] [--fuzz_seconds=60].

Prints a table in Markdown, with date and commit: for each model the trainings that were killed and whether their final
weights are those of an undisturbed one; trainings under odd conditions; wrong inputs; damaged and hostile files for
each reader. The kills run beside all else, for two processors. Returns 1 if any is lost.
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests import ROOT
from tests.kill_and_resume import SUBJECTS

CONDITIONS = {  # tests of test_conditions.py by what they do to a training
    "disk full": "full_disk", "output read-only": "read_only", "user without privileges": "privileges",
    "HOME unset, python -O, locale C, clock going backwards": "odd_environments", "stdout closed": "closed",
    "two runs at once": "two_runs", "data that vanish or change": "vanish", "memory over 5,000 steps": "memory"}


def main(argv: list[str]) -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each model")
    parser.add_argument("--fuzz_seconds", type=float, default=60.0, help="for each reader")
    arguments = parser.parse_args(argv)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                            check=False).stdout.strip()
    with ThreadPoolExecutor(1) as beside:
        kills = beside.submit(lambda: [_kills(model, arguments.kills) for model in SUBJECTS])
        rows = _counted("test_bad_inputs.py", r"(\w+): (\d+) (?:command lines|inputs)", "wrong inputs", {})
        rows += [_tests("hostile files", "test_hostile.py"), _tests("folders of odd names", "test_paths.py")]
        rows += [_tests(what, "test_conditions.py", selected) for what, selected in CONDITIONS.items()]
        rows += _counted("test_fuzz.py", r"([\w ]+): (\d+) files", "damaged files",
                         {"ZOO_FUZZ_SECONDS": str(arguments.fuzz_seconds)})
        rows = kills.result() + rows
    print(f"\n{datetime.date.today().isoformat()}, commit {commit or 'unknown'}\n")
    print("| subject | what was done | tried | survived | lost | minutes |\n|---|---|---|---|---|---|")
    for subject, what, tried, lost, seconds in rows:
        print(f"| {subject} | {what} | {tried} | {tried - lost} | {lost} | {seconds / 60:.1f} |")
    return 1 if any(row[3] for row in rows) else 0


def _kills(model: str, kills: int) -> tuple:
    what = "killed at random moments and while a checkpoint is written, then resumed; weights and metrics equal"
    result, seconds = _run(["-m", "tests.kill_and_resume", model, f"--kills={kills}"], {})
    if result.returncode:
        print(result.stdout[-3000:], file=sys.stderr)
        return model, what, kills, kills, seconds
    hits = json.loads(result.stdout.splitlines()[-1])["kills"]
    return model, f"{what} ({hits['writing']} while writing)", hits["writing"] + hits["any"], 0, seconds


def _counted(file: str, pattern: str, what: str, environment: dict) -> list:
    result, seconds = _run(["-m", "pytest", "-q", "-s", f"tests/robustness/{file}"], environment)
    counts = re.findall(pattern, result.stdout)
    if result.returncode:
        print(result.stdout[-3000:], file=sys.stderr)
    failed = len(re.findall(r"^FAILED", result.stdout, re.MULTILINE))
    rows = [(subject.strip(), what, int(count), 0, seconds / max(1, len(counts))) for subject, count in counts]
    return rows + [(file, what, failed, failed, 0.0)] * bool(result.returncode)


def _tests(what: str, file: str, selected: str = "") -> tuple:
    """Run tests of which each is one try."""
    arguments = ["-m", "pytest", "-q", "-m", "slow or not slow", f"tests/robustness/{file}", "-k", selected]
    result, seconds = _run(arguments, {})
    progress = "".join(re.findall(r"^([.FEs]+) *(?:\[ *\d+%\])?$", result.stdout, re.MULTILINE))
    failed = progress.count("F") + progress.count("E")
    if result.returncode:
        print(result.stdout[-3000:], file=sys.stderr)
    skipped = f", {progress.count('s')} skipped" if "s" in progress else ""
    return "all models", what + skipped, progress.count(".") + failed, failed or int(result.returncode != 0), seconds


def _run(arguments: list[str], environment: dict) -> tuple:
    print("== python3", *arguments, file=sys.stderr, flush=True)
    started = time.monotonic()
    result = subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
                            env=dict(os.environ, **environment))
    return result, time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
