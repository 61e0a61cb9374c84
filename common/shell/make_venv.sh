#!/usr/bin/env bash
# Create a virtual environment, or update it if the requirements have changed.
#
#     bash common/shell/make_venv.sh VENV LOWEST HIGHEST REQUIREMENTS...
#
# LOWEST and HIGHEST are Python versions such as 3.11 and 3.13. $PYTHON, if set, is the interpreter to use.
# Exit status: 0 success, 1 failure explained in one line, 3 no Python of these versions.
set -euo pipefail

fail() {
    local status=$1
    shift
    echo "[Error] $*" >&2
    exit "$status"
}

# Print the version of an interpreter such as 3.11, nothing if it does not run.
version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

# Whether version $1 is between $2 and $3.
within() {
    local minor=${1#3.}
    [ "${1%%.*}" = 3 ] && [ "$minor" -ge "${2#3.}" ] && [ "$minor" -le "${3#3.}" ]
}

# Print the first interpreter whose version is between $1 and $2.
find_python() {
    local minor candidate version pyenv_root=${PYENV_ROOT:-$HOME/.pyenv}
    local -a candidates=()
    if [ -n "${PYTHON:-}" ]; then
        candidates=("$PYTHON")
    else
        for ((minor = ${1#3.}; minor <= ${2#3.}; minor++)); do
            candidates+=("python3.$minor" "$pyenv_root"/versions/3."$minor".*/bin/python)
        done
        candidates+=(python3)
    fi
    for candidate in "${candidates[@]}"; do
        version=$(version_of "$candidate")
        if [ -n "$version" ] && within "$version" "$1" "$2"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

venv=$1 lowest=$2 highest=$3
shift 3
range="Python $lowest to $highest"
[ "$lowest" != "$highest" ] || range="Python $lowest"
if ! python=$(find_python "$lowest" "$highest"); then
    version=$(version_of "${PYTHON:-python3}")
    fail 3 "$range is needed, but was not found (${PYTHON:-python3} is ${version:-missing}):" \
        "install it, or set PYTHON to its path"
fi

stamp="$venv/.requirements"
state=$(version_of "$python"; printf '%s\n' "$@"; cat -- "$(dirname -- "$1")"/requirements*.txt)
if [ -f "$stamp" ] && [ "$(cat -- "$stamp")" = "$state" ] && [ -n "$(version_of "$venv/bin/python")" ]; then
    echo "$venv is up to date ($python)"
    exit 0
fi
[ ! -e "$venv" ] || [ -f "$venv/pyvenv.cfg" ] || fail 1 "$venv exists, but is not a virtual environment: move it away"
mkdir -p -- "$(dirname -- "$venv")"
free=$(df -Pk -- "$(dirname -- "$venv")" | awk 'NR == 2 { print $4 }')
[ "$free" -ge 3000000 ] || fail 1 "no space for $venv: $((free / 1024)) MiB free, 3 GiB needed"

echo "Creating $venv with $python from $* (a minute or two, about 2 GB) ..."
if [ "$(version_of "$venv/bin/python")" != "$(version_of "$python")" ]; then
    "$python" -m venv --clear "$venv" >/dev/null 2>&1 ||
        fail 1 "$python cannot create virtual environments: install its venv package (Debian: python3-venv)"
fi
log="$venv/pip.log"
requirements=()
for file in "$@"; do
    requirements+=(-r "$file")
done
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --retries 2 --timeout 30 "${requirements[@]}" \
    >"$log" 2>&1; then
    if grep -qiE 'No space left' "$log"; then
        fail 1 "no space left while installing into $venv"
    elif grep -qiE 'connection|name resolution|unreachable|timed out|Max retries|proxy|from versions: none' "$log"; then
        fail 1 "the package registry cannot be reached (see $log): check the network and pip's index-url"
    fi
    fail 1 "pip failed: $(grep -m1 -i error "$log" || tail -n 1 "$log") ($log)"
fi
printf '%s\n' "$state" >"$stamp"
echo "$venv is ready ($("$venv/bin/python" --version 2>&1))"
