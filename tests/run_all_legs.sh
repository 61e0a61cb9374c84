#!/usr/bin/env bash
# Run the tests on every TensorFlow generation, each with its own virtual environment in .venvs/, and report which legs
# ran. A leg whose Python is missing is skipped and reported. The exit status is 1 if a leg failed.
#
#     bash tests/run_all_legs.sh [LEG...]      legs: tf115 tf26 current
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit
status=0
legs=() summary=()
declare -A python_of=() made=()

# Create the environment of a leg, and keep the exit status. $1: name of the leg. $2, $3: lowest and highest Python
# version. Then the requirements files.
make_environment() {
    local name=$1
    legs+=("$name")
    python_of[$name]=$2 made[$name]=0
    # PYTHON is the interpreter of the default leg
    env -u PYTHON bash common/shell/make_venv.sh ".venvs/$name" "$2" "$3" "${@:4}" || made[$name]=$?
}

# $1: name of the leg. Then arguments of pytest.
run_leg() {
    local name=$1 started=$SECONDS
    shift
    if [ "${made[$name]}" -eq 3 ]; then
        summary+=("leg $name: SKIPPED, no Python ${python_of[$name]} on this machine")
    elif [ "${made[$name]}" -ne 0 ]; then
        summary+=("leg $name: FAILED, its environment could not be created")
        status=1
    elif echo "== leg $name" && bash tests/run_leg.sh ".venvs/$name/bin/python" "$@"; then
        summary+=("leg $name: passed in $((SECONDS - started)) s")
    else
        summary+=("leg $name: FAILED")
        status=1
    fi
}

for leg in "${@:-tf115 tf26 current}"; do
    for name in $leg; do
        case "$name" in
            tf115) make_environment tf115 3.7 3.7 requirements-tf115.txt ;;
            tf26) make_environment tf26 3.9 3.9 requirements-tf26.txt requirements-test-tf26.txt ;;
            current) make_environment current 3.11 3.11 requirements.txt ;;
            *)
                echo "[Error] unknown leg $name: expected tf115, tf26 or current" >&2
                exit 2
                ;;
        esac
    done
done
# what needs no TensorFlow is tested with the oldest and the newest Python
without_tensorflow=(tests/common/{cli,data,distributed,evaluation,plots} tests/robustness tests/test_contract.py
    tests/shell/{test_make_venv,test_train_1p}.py tests/common/test_{console,missing_packages,zoo}.py)
for name in "${legs[@]}"; do
    case "$name" in
        tf26) run_leg "$name" "${without_tensorflow[@]/#/--ignore=}" ;;
        *) run_leg "$name" ;;
    esac
done
printf '%s\n' "== legs" "${summary[@]}"
exit "$status"
