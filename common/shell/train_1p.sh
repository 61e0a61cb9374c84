# shellcheck shell=bash
# The library behind every <model>/test/*.sh. Sourcing it only defines functions.
#
# A script names its entry and fixed flags, then passes on the arguments of its user:
#
#     train_1p gitloss.py -- "$@"
#     train_1p gitloss.py --performance -- "$@"
#
# The script's variables data_path, output_path, batch_size, train_epochs, train_steps and precision_mode become flags
# unless they are empty; flags on the command line take precedence.

# Print the interpreter to use: $PYTHON, else the active environment, else .venv of the repository, else python3.
# $1: root of the repository.
zoo_python() {
    if [ -n "${PYTHON:-}" ]; then
        printf '%s\n' "$PYTHON"
    elif [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
        command -v python || command -v python3 || printf 'python3\n'
    elif [ -x "$1/.venv/bin/python" ]; then
        printf '%s\n' "$1/.venv/bin/python"
    else
        printf 'python3\n'
    fi
}

# Fail with one line if an interpreter is missing or lacks packages.
# $1: the interpreter. $2: root of the repository. Then the packages.
zoo_require_packages() {
    local python=$1 root=$2 status=0
    shift 2
    "$python" -c 'import importlib.util as u, sys; sys.exit(3 if any(map(lambda m: not u.find_spec(m), sys.argv[1:])) else 0)' \
        "$@" 2>/dev/null || status=$?
    case "$status" in
        0) return 0 ;;
        3) echo "[Error] $python lacks one of the packages $*: run 'make setup' in $root, or set PYTHON to an" \
            "interpreter that has them" >&2 ;;
        *) echo "[Error] $python is not a working Python interpreter: run 'make setup' in $root, or set PYTHON" >&2 ;;
    esac
    return 1
}

# Send a signal to a process until it ends. A background process starts with SIGINT ignored, so a signal that arrives
# before the program has installed its handlers would be lost; the program acts on the first signal that it receives.
# $1: the signal. $2: the process.
zoo_signal_until_end() {
    while kill "-$1" "$2" 2>/dev/null; do
        sleep 0.5
    done
}

# Run a program and return its status, 128+n if signal n ended it. Signals are forwarded, so that stopping this script
# stops the training, which then saves its state.
# $@: the command.
zoo_run() {
    local child status=0
    "$@" <&0 &
    child=$!
    trap 'zoo_signal_until_end INT "$child" &' INT
    trap 'zoo_signal_until_end TERM "$child" &' TERM
    trap 'zoo_signal_until_end HUP "$child" &' HUP
    while :; do
        status=0
        wait "$child" || status=$?
        kill -0 "$child" 2>/dev/null || break
    done
    trap - TERM HUP INT
    return "$status"
}

# Train a model with one process.
# $1: the entry, relative to the model's folder. Then fixed flags, `--`, and the arguments of the user.
train_1p() {
    local model_root zoo_root python entry name flag packages=(absl numpy tensorflow)
    local -a arguments=()
    model_root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[1]}")/.." && pwd -P)
    zoo_root=$(dirname -- "$model_root")
    entry=$model_root/$1
    shift
    while [ "$1" != -- ]; do
        arguments+=("$1")
        shift
    done
    shift

    export ASCEND_DEVICE_ID="${ASCEND_DEVICE_ID:-0}" RANK_ID="${RANK_ID:-0}" RANK_SIZE="${RANK_SIZE:-1}"
    export JOB_ID="${JOB_ID:-10087}"
    for name in data_path output_path batch_size train_epochs train_steps precision_mode; do
        flag=${!name:-}
        [ -z "$flag" ] || arguments+=("--$name=$flag")
    done
    for flag in "$@"; do
        case "$flag" in -h | --help) packages=(absl numpy) ;; esac
    done
    python=$(zoo_python "$zoo_root")
    zoo_require_packages "$python" "$zoo_root" "${packages[@]}" || return 1
    zoo_run "$python" "$entry" ${arguments[@]+"${arguments[@]}"} "$@"
}
