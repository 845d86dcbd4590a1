# Sourced by the scripts beside it: `use_venv NAME EXTRAS [REQUIREMENT ...]` makes the virtual
# environment .venv-NAME with this project and its extras in it, and what else is required, and puts
# its commands first on the PATH.

use_venv() {
    local name=".venv-$1" extras="$2" python="${PYTHON:-python3}"
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Python 3.11 or newer is needed; set PYTHON to its command" >&2
        return 1
    fi
    if ! "$name/bin/python" -c '' 2>/dev/null; then
        rm -rf "$name"
        "$python" -m venv "$name"
    fi
    shift 2
    "$name/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extras]" "$@"
    export PATH="$PWD/$name/bin:$PATH"
}
