#!/usr/bin/env bash
# Run the tests with one interpreter: bash tests/run_leg.sh PYTHON [pytest arguments]
# Graph code and Keras code never share a process. Four processes run in parallel, and their output is printed one after
# the other; the exit status is 1 if one of them failed.
set -euo pipefail
set -m  # otherwise background jobs ignore SIGINT
python=$1
shift
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
output=$(mktemp -d)
declare -A processes=()
trap 'rm -rf -- "$output"' EXIT
trap 'kill -- "${processes[@]}"; exit 130' INT TERM

# Run a part of the tests in the background. $1: name of the part. Then the arguments of pytest.
start() {
    local name=$1
    shift
    "$python" -m pytest "$@" >"$output/$name" 2>&1 &
    processes[$name]=$!
}

parts=(graph others readme)
start graph tests/graph "$@"
start others --ignore=tests/graph --ignore=tests/keras --ignore=tests/test_readme.py tests "$@"
start readme tests/test_readme.py "$@"
if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))'; then
    parts+=(keras)
    start keras tests/keras "$@"
else
    echo "tests/keras is skipped: the Keras models need TensorFlow 2.6 or newer, and this Python has 1.15"
fi
status=0
for part in "${parts[@]}"; do
    wait "${processes[$part]}" || [ $? -eq 5 ] || status=1  # 5: the arguments select no test of this part
    echo "== tests: $part"
    cat -- "$output/$part"
done
exit "$status"
