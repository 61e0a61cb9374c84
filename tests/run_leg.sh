#!/usr/bin/env bash
# Run the tests with one interpreter: bash tests/run_leg.sh PYTHON [pytest arguments]
# Graph code and Keras code never share a process. Four processes run side by side, their words are printed one after
# the other; exit status 1 when one failed.
set -euo pipefail
set -m  # or what runs in the background, and all it starts, would ignore SIGINT
python=$1
shift
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
words=$(mktemp -d)
declare -A processes=()
trap 'rm -rf -- "$words"' EXIT
trap 'kill -- "${processes[@]}"; exit 130' INT TERM

# $1: name of the part. Then pytest's arguments.
begin() {
    local name=$1
    shift
    "$python" -m pytest "$@" >"$words/$name" 2>&1 &
    processes[$name]=$!
}

parts=(graph others readme)
begin graph tests/graph "$@"
begin others --ignore=tests/graph --ignore=tests/keras --ignore=tests/test_readme.py tests "$@"
begin readme tests/test_readme.py "$@"
if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))'; then
    parts+=(keras)
    begin keras tests/keras "$@"
else
    echo "tests/keras is left out: the Keras models need TensorFlow 2.6 or newer, and this Python has 1.15"
fi
status=0
for part in "${parts[@]}"; do
    wait "${processes[$part]}" || [ $? -eq 5 ] || status=1  # 5: the arguments choose no test of this part
    echo "== tests: $part"
    cat -- "$words/$part"
done
exit "$status"
