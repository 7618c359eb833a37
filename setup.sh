#!/usr/bin/env bash
# Sets up everything `make demo` and `make test` need: system packages (as root on Debian or Ubuntu), a virtual
# environment in .venv with locked dependencies, the project itself. Idempotent: a second call does nothing.
#
#   PYTHON=python3.12 ./setup.sh     choose the interpreter (3.11 to 3.13); later calls keep it
#   TORCH=cuda ./setup.sh            the CUDA build of PyTorch instead of the CPU build; later calls keep it
set -euo pipefail
cd "$(dirname "$0")"
VENV=.venv
STAMP_FILE=$VENV/.setup-stamp
NO_LAB=$VENV/.no-lab-kernel # the package was looked for and is not to be had: do not look again at every call
TORCH_VERSION=2.13.0
PROBE='import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 4
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
apt_install() {
    apt-get update -qq || say "apt-get update failed; going on with the package lists that are here"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c "$PROBE" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# Version of the virtual environment's interpreter; fails for one that is missing, broken or was interrupted half way.
venv_version() { [ -x "$VENV/bin/pip" ] && "$VENV/bin/python" -c "$PROBE" 2>/dev/null; }

# Sets PYTHON_BIN and VERSION. An environment that works is kept, unless PYTHON asks for another version.
choose_python() {
    HAVE=$(venv_version) || HAVE=
    if [ -z "${PYTHON:-}" ] && [ -n "$HAVE" ]; then
        PYTHON_BIN=$VENV/bin/python
    elif ! PYTHON_BIN=$(find_python); then
        [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is no Python 3.11 to 3.13 that runs here"
        can_apt || fail "no Python 3.11 to 3.13 found; as root: apt-get install python3.11 python3.11-venv; or set PYTHON"
        say "no Python 3.11 to 3.13 found; installing python3.11 beside the system's own"
        apt_install python3.11 python3.11-venv || fail "python3.11 cannot be installed here; install Python 3.11 to 3.13"
        PYTHON_BIN=$(find_python) || fail "no Python 3.11 to 3.13 found, even after installing python3.11"
    fi
    VERSION=$("$PYTHON_BIN" -c "$PROBE")
}

system_packages() {
    local missing=()
    { command -v ip && command -v tc; } >/dev/null || missing+=(iproute2)
    command -v nsenter >/dev/null || missing+=(util-linux)
    command -v ping >/dev/null || missing+=(iputils-ping)
    [ "$HAVE" = "$VERSION" ] || "$PYTHON_BIN" -c 'import ensurepip, venv' 2>/dev/null || missing+=("python$VERSION-venv")
    [ ${#missing[@]} -gt 0 ] || return 0
    if can_apt; then
        say "installing system packages: ${missing[*]}"
        apt_install "${missing[@]}"
    else
        say "missing system packages (needs root and apt-get to install): ${missing[*]}"
    fi
}

# The lab fabric's kernel is optional: Debian and Ubuntu have it for x86 only.
lab_kernel() {
    if { command -v linux.uml >/dev/null && [ -d /usr/lib/uml/modules ]; } || [ -e "$NO_LAB" ]; then
        return
    elif ! can_apt; then
        say "no lab fabric: the package user-mode-linux is not installed"
    else
        say "installing user-mode-linux for the lab fabric"
        apt_install user-mode-linux || { say "no lab fabric: user-mode-linux cannot be installed here" && touch "$NO_LAB"; }
    fi
}

# Whether the PyTorch that is installed has the version and the build that are wanted (+cpu; PyPI's has no suffix).
has_torch() {
    "$VENV/bin/python" - "$TORCH_VERSION" "$1" <<'PY'
import importlib.metadata as metadata, sys
try:
    version, _, build = metadata.version("torch").partition("+")
except metadata.PackageNotFoundError:
    sys.exit(1)
sys.exit(version != sys.argv[1] or (build == "cpu") != (sys.argv[2] == "+cpu"))
PY
}

install_torch() {
    local suffix=
    # elsewhere the default build is the CPU build
    if [ "$TORCH" = cpu ] && [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then suffix=+cpu; fi
    if has_torch "$suffix"; then return; fi
    say "installing PyTorch $TORCH_VERSION ($TORCH build)"
    # for pip, 2.13.0+cpu satisfies ==2.13.0: without this the change to the CUDA build would do nothing
    "$VENV/bin/pip" uninstall -qq -y torch
    if [ -z "$suffix" ]; then
        "$VENV/bin/pip" install -q "torch==$TORCH_VERSION"
    # the default Linux wheel brings gigabytes of CUDA; uv knows where the CPU builds are. That pip does not is usual
    # and no news; what else stops pip stops uv as well, which says so.
    elif ! "$VENV/bin/pip" install -q "torch==$TORCH_VERSION$suffix" 2>/dev/null; then
        "$VENV/bin/pip" install -q uv
        "$VENV/bin/uv" pip install -q --python "$VENV/bin/python" --torch-backend cpu "torch==$TORCH_VERSION"
    fi
}

STAMP_BEFORE=$(cat "$STAMP_FILE" 2>/dev/null) || STAMP_BEFORE=
TORCH=${TORCH:-${STAMP_BEFORE##*-}}
TORCH=${TORCH:-cpu}
case $TORCH in cpu | cuda) ;; *) fail "TORCH=$TORCH is not known; write cpu or cuda" ;; esac

choose_python
system_packages
if [ "$HAVE" != "$VERSION" ]; then
    say "creating $VENV with Python $VERSION"
    "$PYTHON_BIN" -m venv --clear "$VENV" # what is there is another version's, or was interrupted
    STAMP_BEFORE=
fi
lab_kernel

STAMP=$(cat requirements.lock pyproject.toml setup.sh | sha256sum | cut -d' ' -f1)-$VERSION-$TORCH
if [ "$STAMP_BEFORE" != "$STAMP" ]; then
    echo "unfinished-$VERSION-$TORCH" >"$STAMP_FILE" # an interrupted change must not pass for what was there before
    say "installing locked dependencies"
    # only files whose hashes are in the lock; PyTorch after them, so that of what it needs nothing else is fetched
    "$VENV/bin/pip" install -q --require-hashes -r requirements.lock
    install_torch
    "$VENV/bin/pip" install -q --no-deps --no-build-isolation -e .
    "$VENV/bin/python" -m compileall -q testbed
    echo "$STAMP" >"$STAMP_FILE"
    say "done; $VENV takes $(du -sm "$VENV" | cut -f1) MB"
fi
if [ "$(id -u)" != 0 ]; then
    say "not root: networks are made in a user namespace; 'testbed doctor' says which fabric this account gets"
fi
