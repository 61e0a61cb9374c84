#!/usr/bin/env bash
# Run the tests with one interpreter: bash tests/run_leg.sh PYTHON [pytest arguments]
# Graph code and Keras code never share a process, so pytest runs once for each.
set -euo pipefail
python=$1
shift
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
"$python" -m pytest --ignore=tests/keras tests "$@"
if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))'; then
    "$python" -m pytest tests/keras "$@"
else
    echo "tests/keras is left out: the Keras models need TensorFlow 2.6 or newer, and this Python has 1.15"
fi
