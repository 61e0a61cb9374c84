#!/usr/bin/env bash
# Run the tests on every TensorFlow generation, each in a virtual environment of its own under .venvs/, and say which
# legs ran. A leg whose Python is missing is skipped and reported. Exit status 1 when a leg failed.
#
#     bash tests/run_all_legs.sh [LEG...]      legs: tf115 tf26 current
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit
status=0
summary=()

# $1: name of the leg. $2, $3: Python versions. Then requirements.
run_leg() {
    local name=$1 made=0 started=$SECONDS
    echo "== leg $name: Python $2, ${*:4}"
    # PYTHON names the default leg's interpreter and fits no other
    env -u PYTHON bash common/shell/make_venv.sh ".venvs/$name" "$2" "$3" "${@:4}" || made=$?
    if [ "$made" -eq 3 ]; then
        summary+=("leg $name: SKIPPED, no Python $2 on this machine")
    elif [ "$made" -ne 0 ]; then
        summary+=("leg $name: FAILED, its environment could not be made")
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
                echo "[Error] no leg $name: tf115, tf26, current" >&2
                exit 2
                ;;
        esac
    done
done
printf '%s\n' "== legs" "${summary[@]}"
exit "$status"
