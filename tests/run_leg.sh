#!/usr/bin/env bash
# Run the tests with one interpreter: bash tests/run_leg.sh PYTHON [pytest arguments]
# Graph code and Keras code never share a process, so pytest runs once for each.
set -euo pipefail
python=$1
shift
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"$python" -m pytest --ignore=tests/keras tests "$@"
if [ -n "$(find tests/keras -name 'test_*.py' -print -quit 2>/dev/null)" ]; then
    "$python" -m pytest tests/keras "$@"
fi
