#!/usr/bin/env bash
# Sets up everything `make demo` and `make test` need: system packages (as root on Debian or Ubuntu), a virtual
# environment in .venv with locked dependencies, the project itself. Idempotent: a second call does nothing.
#
#   PYTHON=python3.12 ./setup.sh     choose the interpreter (3.11 to 3.13)
#   TORCH=cuda ./setup.sh            the CUDA build of PyTorch instead of the CPU build
set -euo pipefail
cd "$(dirname "$0")"
VENV=.venv
TORCH_VERSION=2.13.0
TORCH=${TORCH:-cpu}

say() { echo "setup: $*"; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 to 3.13 found; install one or set PYTHON" >&2
    exit 4
}

# command -> Debian package
system_packages() {
    local missing=()
    command -v ip >/dev/null && command -v tc >/dev/null || missing+=(iproute2)
    command -v nsenter >/dev/null || missing+=(util-linux)
    command -v ethtool >/dev/null || missing+=(ethtool)
    command -v linux.uml >/dev/null && [ -d /usr/lib/uml/modules ] || missing+=(user-mode-linux)
    [ "$1" = yes ] || missing+=("python$2-venv")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing system packages: ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        say "missing system packages (needs root and apt-get to install): ${missing[*]}"
    fi
}

install_torch() {
    if "$VENV/bin/python" -c "import importlib.metadata as m, sys; sys.exit(not m.version('torch').startswith('$TORCH_VERSION'))" 2>/dev/null; then
        return
    fi
    say "installing PyTorch $TORCH_VERSION ($TORCH build)"
    if [ "$TORCH" != cpu ]; then
        "$VENV/bin/pip" install -q "torch==$TORCH_VERSION"
    elif [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
        "$VENV/bin/pip" install -q "torch==$TORCH_VERSION" # elsewhere the default build is the CPU build
    elif ! "$VENV/bin/pip" install -q "torch==$TORCH_VERSION+cpu" 2>/dev/null; then
        # the default Linux wheel brings gigabytes of CUDA; uv knows where the CPU builds are
        "$VENV/bin/pip" install -q uv
        "$VENV/bin/uv" pip install -q --python "$VENV/bin/python" --torch-backend cpu "torch==$TORCH_VERSION"
    fi
}

PYTHON_BIN=$(find_python)
VERSION=$("$PYTHON_BIN" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
HAS_VENV=$("$PYTHON_BIN" -c 'import ensurepip, venv' 2>/dev/null && echo yes || echo no)
system_packages "$HAS_VENV" "$VERSION"

STAMP=$(cat requirements.lock pyproject.toml setup.sh | sha256sum | cut -d' ' -f1)-$VERSION-$TORCH
if [ "$(cat $VENV/.setup-stamp 2>/dev/null)" != "$STAMP" ]; then
    [ -x "$VENV/bin/python" ] || { say "creating $VENV with Python $VERSION"; "$PYTHON_BIN" -m venv "$VENV"; }
    install_torch
    say "installing locked dependencies"
    "$VENV/bin/pip" install -q -r requirements.lock
    "$VENV/bin/pip" install -q --no-deps --no-build-isolation -e .
    "$VENV/bin/python" -m compileall -q testbed >/dev/null
    echo "$STAMP" >"$VENV/.setup-stamp"
    say "done"
fi
if [ "$(id -u)" != 0 ]; then
    say "not root: 'testbed doctor' says which fabric this account can still offer"
fi
