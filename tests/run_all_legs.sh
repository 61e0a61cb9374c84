#!/usr/bin/env bash
# Run the tests on every TensorFlow generation, each with its own virtual environment in .venvs/, and report which legs
# ran. A leg whose Python is missing is skipped and reported. The exit status is 1 if a leg failed.
#
#     bash tests/run_all_legs.sh [LEG...]      legs: tf115 tf26 current
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit
status=0
summary=()

# $1: name of the leg. $2, $3: lowest and highest Python version. Then the requirements files.
run_leg() {
    local name=$1 venv_status=0 started=$SECONDS
    echo "== leg $name: Python $2, ${*:4}"
    # PYTHON is the interpreter of the default leg
    env -u PYTHON bash common/shell/make_venv.sh ".venvs/$name" "$2" "$3" "${@:4}" || venv_status=$?
    if [ "$venv_status" -eq 3 ]; then
        summary+=("leg $name: SKIPPED, no Python $2 on this machine")
    elif [ "$venv_status" -ne 0 ]; then
        summary+=("leg $name: FAILED, its environment could not be created")
        status=1
    elif bash tests/run_leg.sh ".venvs/$name/bin/python"; then
        summary+=("leg $name: passed in $((SECONDS - started)) s")
    else
        summary+=("leg $name: FAILED")
        status=1
    fi
}

for leg in "${@:-tf115 tf26 current}"; do
    for name in $leg; do
        case "$name" in
            tf115) run_leg tf115 3.7 3.7 requirements-tf115.txt ;;
            tf26) run_leg tf26 3.9 3.9 requirements-tf26.txt requirements-test-tf26.txt ;;
            current) run_leg current 3.11 3.11 requirements.txt ;;
            *)
                echo "[Error] unknown leg $name: expected tf115, tf26 or current" >&2
                exit 2
                ;;
        esac
    done
done
printf '%s\n' "== legs" "${summary[@]}"
exit "$status"
