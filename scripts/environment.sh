# Sourced by scripts/run, scripts/test, scripts/check and scripts/bench: makes the virtual environment of this checkout.
#
# ensure_environment EXTRAS   installs the checkout with those extras ("" for none, "test", "dev") into .venv, once per
#                             content of setup.py and version of Python; a second call takes milliseconds.
# Sets ROOT (the checkout) and PYTHON (the environment's interpreter). The working directory is left alone.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${AGENTPROXY_VENV:-$ROOT/.venv}
unset AGENTPROXY_VENV # not an option of the daemon
PYTHON=$VENV/bin/python
# Without byte code every start would pay seconds for imports.
unset PYTHONDONTWRITEBYTECODE

die() {
    echo "agentproxy: $*" >&2
    exit 1
}

find_python() {
    local name
    for name in "${AGENTPROXY_PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$name" ] || continue
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    die "Python 3.11 or newer was not found on PATH. Install it (on Debian 12: apt-get install python3 python3-venv)."
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_venv_module() {
    local how="install the package that has the modules venv and ensurepip (on Debian: apt-get install python3-venv)"
    command -v apt-get >/dev/null || die "this Python cannot make virtual environments: $how."
    echo "agentproxy: installing Debian's python3-venv ..." >&2
    as_root apt-get update -qq >&2 || true
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends python3-venv >/dev/null ||
        die "this Python cannot make virtual environments: $how."
}

make_venv() {
    local python
    python=$(find_python) || exit 1
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_venv_module
    fi
    rm -rf "$VENV"
    "$python" -m venv "$VENV" || die "could not make the virtual environment $VENV."
}

ensure_environment() {
    local extras=$1 wanted stamp
    [ -x "$PYTHON" ] && "$PYTHON" -c '' 2>/dev/null || make_venv
    stamp=$VENV/.installed-${extras:-run}
    wanted=$("$PYTHON" -VV; cat "$ROOT/setup.py"; echo "$ROOT")
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "agentproxy: installing into $VENV (once; this takes a minute) ..." >&2
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --use-pep517 --editable "$ROOT${extras:+[$extras]}" ||
            die "the installation failed; the messages above say why. Run the command again when it is mended."
        echo "$wanted" >"$stamp"
    fi
}
