"""Train and use the models of the zoo.

    zoo list [FOLDER]          list models; look for their data in FOLDER
    zoo train|evaluate|predict|export|benchmark MODEL [--flag=value ...]
    zoo runs [FOLDER ...]      list all runs in folders
    zoo compare RUN RUN ... [--output=FILE.png]
    zoo report RUN             draw the curves of a run, write its report.html
    zoo publish RUN FOLDER     copy the weights of a run, with checksums
    zoo doctor [--device=...]  show what this machine can run
    zoo completion             print the completion script for bash and, after
                               bashcompinit, zsh: eval "$(zoo completion)"

MODEL is the folder of a model or a prefix of its name. Flags and exit statuses
are those of the model's own programs; `zoo train gitloss --help` lists the
flags. `python3 -m common.zoo` is the same command.
"""
from __future__ import annotations

import dataclasses
import difflib
import glob
import importlib
import importlib.util
import json
import os
import pathlib
import sys
from typing import Any, Callable, Sequence

from common import ROOT, console
from common.cli import program
from common.cli.program import HelpRequested
from common.devices import selection
from common.errors import FlagError, ZooError

MODEL_FILE = "model.json"
PROGRAMS_OF_ALL = {"publish": "common.graph.publish", "doctor": "common.doctor"}
PROGRAMS = ("train", "evaluate", "predict", "export", "benchmark")
_GPU_FILES = ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/kfd")  # NVIDIA's driver, WSL, ROCm


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the zoo: the name of its folder, and the content of its model.json."""

    name: str
    card: dict[str, Any]

    def program(self, kind: str) -> str:
        """Return the path of one of its `PROGRAMS`."""
        return os.path.normpath(os.path.join(ROOT, self.name, self.card["programs"][kind]))

    def data_in(self, folder: str) -> str | None:
        """Return the path of the model's data: a folder itself by its name, or what it holds; None if it has none."""
        if os.path.basename(os.path.abspath(folder)) in self.card["data_folders"] and os.path.isdir(folder):
            return folder
        candidates = (os.path.join(folder, name) for name in self.card["data_folders"])
        return next(filter(os.path.exists, candidates), None)

    def has_weights(self) -> bool:
        """Whether the model comes with weights."""
        from common.checkpoints.trained import PRETRAINED
        from common.data import checksums

        return checksums.has_sums(os.path.join(ROOT, self.name, PRETRAINED))


def models() -> list[Model]:
    """Return all models: the folders of the repository that have a model.json."""
    names = sorted(name for name in os.listdir(ROOT) if os.path.isfile(os.path.join(ROOT, name, MODEL_FILE)))
    return [Model(name, json.loads(pathlib.Path(ROOT, name, MODEL_FILE).read_text("utf-8"))) for name in names]


@program.entry
def main(arguments: list[str], stop: program.StopRequest) -> int:
    """Run a command; return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        raise HelpRequested(__doc__ or "")
    command, rest = arguments[0], arguments[1:]
    if command in PROGRAMS:
        return _start(command, rest)
    if command in PROGRAMS_OF_ALL:
        return _replace_process("-m", PROGRAMS_OF_ALL[command], *rest)
    commands: dict[str, Callable[[list[str]], int]] = dict(
        list=_list, runs=_runs, compare=_compare, report=_report, completion=_completion)
    if command not in commands:
        names = (*commands, *PROGRAMS, *PROGRAMS_OF_ALL)
        near = difflib.get_close_matches(command, names, n=1)
        expected = f"did you mean {near[0]}?" if near else f"expected {', '.join(names)}"
        raise FlagError(f"zoo {command}: no such command; {expected}")
    if {"-h", "--help"} & set(rest):
        raise HelpRequested(__doc__ or "")
    return commands[command](rest)


def _start(kind: str, arguments: list[str]) -> int:
    """Run a program of a model in place of this process."""
    if not arguments or arguments[0].startswith("-"):
        raise FlagError(f"zoo {kind} needs a model: zoo {kind} {'|'.join(model.name for model in models())} [flags]")
    return _replace_process(_find_model(arguments[0]).program(kind), *arguments[1:])


def _find_model(name: str) -> Model:
    candidates = [model for model in models() if model.name.startswith(name.rstrip("/"))]
    exact = [model for model in candidates if model.name == name.rstrip("/")]
    if len(exact or candidates) != 1:
        problem = "several models have this prefix" if candidates else "no such model"
        raise FlagError(f"{name}: {problem}; expected one of {', '.join(model.name for model in models())}")
    return (exact or candidates)[0]


def _replace_process(*arguments: str) -> int:
    """Run Python in place of this process, so that signals and exit status are those of the program."""
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *arguments], program.environment())
    return 1  # not reached


def _list(arguments: list[str]) -> int:
    folder = os.path.expanduser(arguments[0]) if arguments else None
    device = _likely_device()
    rows, details = [("model", "device", "data", "weights")], [""]
    for model in models():
        data = model.data_in(folder) if folder else None
        about = data or (f"missing in {folder}" if folder else " or ".join(model.card["data_folders"][:2]))
        rows.append((model.name, device, "found" if data else "missing" if folder else "-",
                     "--checkpoint=pretrained" if model.has_weights() else "none, train first"))
        details.append(f"\n    {model.card['title']}: {model.card['use']}\n    TensorFlow "
                       f"{model.card['minimum_tensorflow']} or newer; {model.card['data']}: {about}")
    for line, detail in zip(aligned(rows), details):
        print(console.fold(line + detail, sys.stdout))
    if not folder:
        print("`zoo list FOLDER` looks for the data in FOLDER.")
    print("`zoo doctor` shows what TensorFlow finds on this machine.")
    return 0


def _likely_device() -> str:
    """Return the kind of device that --device=auto would take, with a "?" where only a program that starts can tell.

    TensorFlow is not imported; without it the kind is "-".
    """
    if importlib.util.find_spec("tensorflow") is None:
        return "-"
    if selection.installed_adapters() or selection.device_files():
        return "npu" if selection.installed_adapters() else "npu?"
    return "gpu?" if any(map(glob.glob, _GPU_FILES)) else "cpu"


def _runs(arguments: list[str]) -> int:
    from common.run import report

    folders = [os.path.abspath(os.path.expanduser(folder)) for folder in arguments] or [
        os.path.join(ROOT, model.name, "test", "output") for model in models()]
    for folder in folders:
        if arguments and not os.path.isdir(folder):
            raise ZooError(f"{folder}: no such folder")
    rows, details = [("model", "recipe", "step", "state", "age")], [""]
    for folder in folders:
        for path in report.find_runs(folder):
            try:
                run = report.summarise(path)
            except ZooError as error:
                console.notice(f"Warning: {error}")
                continue
            rows.append((run.model, run.recipe, f"{run.step}/{run.arguments['num_updates']}", run.state,
                         _age(run.seconds_ago)))
            details.append(f"\n    {_short(path)}{_metric(run)}")
    if len(rows) == 1:
        print(console.fold(f"no runs in {', '.join(map(_short, folders))}", sys.stdout))
    else:
        print("\n".join(line + detail for line, detail in zip(aligned(rows), details)))
    return 0


def _card(run: Any) -> dict[str, Any]:
    """Return the card of a run's model; empty if the model is not in this repository."""
    return next((model.card for model in models() if model.name == run.model), {})


def _metric(run: Any) -> str:
    """Return name and value of the metric of a run's model, after a colon; nothing if it has none."""
    metric = _card(run).get("metric", {})
    value = run.evaluation.get(metric.get("key"))
    return "" if value is None else f": {metric['name']} {value:.4f}"


def _compare(arguments: list[str]) -> int:
    from common.run import curves, report

    output = [word.partition("=")[2] for word in arguments if word.startswith("--output=")]
    paths = [os.path.abspath(os.path.expanduser(word)) for word in arguments if not word.startswith("-")]
    if len(paths) < 2:
        raise FlagError("zoo compare needs two runs or more: zoo compare RUN RUN [--output=FILE.png]")
    runs = [report.summarise(path) for path in paths]
    names = [chr(ord("A") + index) for index in range(len(runs))]
    for name, run in zip(names, runs):
        print(f"{name}: {_short(run.path)}")
    print("\n".join([*aligned([("setting", *names), *curves.differing_settings(runs)]),
                     *aligned([("metric", *names), *curves.metric_rows(runs)])]))
    path = output[0] if output else os.path.join(paths[0], "compare.png")
    if curves.draw_together(path, dict(zip(names, runs))):
        print(f"Written: {_short(path)}")
    return 0


def _report(arguments: list[str]) -> int:
    from common.run import curves, report

    if len(arguments) != 1:
        raise FlagError("zoo report needs one run: zoo report RUN")
    run = report.summarise(os.path.abspath(os.path.expanduser(arguments[0])))
    curves.draw(run, _metric(run))
    plots = _card(run).get("run_plots")
    if plots:  # a module of the model that draws more
        importlib.import_module(f"{run.model}.{plots}").draw_run(run.path)
    print(f"Written: {_short(report.write(run))}")
    return 0


def _completion(arguments: list[str]) -> int:
    del arguments
    names = " ".join(model.name for model in models())
    commands = " ".join(("list", *PROGRAMS, "runs", "compare", "report", *PROGRAMS_OF_ALL, "completion"))
    print(f"""_zoo() {{
    local word=${{COMP_WORDS[COMP_CWORD]}}
    case "$COMP_CWORD:${{COMP_WORDS[1]}}" in
        1:*) COMPREPLY=($(compgen -W "{commands}" -- "$word")) ;;
        2:train | 2:evaluate | 2:predict | 2:export | 2:benchmark) COMPREPLY=($(compgen -W "{names}" -- "$word")) ;;
        *) case "$word" in
            --*=*) ;;
            --*) COMPREPLY=($(compgen -S = -W "$(zoo "${{COMP_WORDS[@]:1:2}}" --help 2>/dev/null |
                sed -n 's/^  \\(--[a-z_0-9]*\\).*/\\1/p')" -- "$word")); compopt -o nospace 2>/dev/null ;;
            *) COMPREPLY=($(compgen -f -- "$word")) ;;
        esac ;;
    esac
}}
complete -o filenames -F _zoo zoo""")
    return 0


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns; the last one moves to a separate line if a row exceeds 80 characters. Return a text per row."""
    texts = []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        line = "  ".join(cells).rstrip()
        if len(line) > console.WIDTH:
            line = "  ".join(cells[:-1]).rstrip() + f"\n    {row[-1]}"
        texts.append(line)
    return texts


def _short(path: str) -> str:
    """Return an absolute path or the relative one, whichever is shorter."""
    return min(path, os.path.relpath(path), key=len)


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
