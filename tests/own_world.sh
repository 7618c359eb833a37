#!/bin/sh
# A Python for tests that make networks, in namespaces of its own: links, processes, mounts and the testbed's state
# folders are nobody else's. So several can run side by side on one machine, each with "one emulation a machine".
# pytest starts it as `--tx 2*popen//python=tests/own_world.sh`; sh stays process 1 and reaps what tests orphan.
# As an ordinary user it is an ordinary Python.
PYTHON=${TESTS_PYTHON:-python3}
[ "$(id -u)" = 0 ] && unshare --net --mount --pid --fork true 2>/dev/null || exec "$PYTHON" "$@"
exec unshare --net --mount --pid --fork --kill-child --mount-proc sh -ec '
    for folder in /run/wan-testbed:0700 /run/wan-testbed-machine:0755 /run/netns:0755 /var/lib/wan-testbed:0700; do
        mkdir -p "${folder%:*}"
        mount -t tmpfs -o "mode=${folder#*:}" none "${folder%:*}"
    done
    ip link set lo up
    TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/world.XXXXXX")
    export TMPDIR
    chmod 755 "$TMPDIR"
    "$@" || status=$?
    rm -rf "$TMPDIR"
    exit "${status:-0}"' sh "$PYTHON" "$@"
