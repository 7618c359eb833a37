"""The testbed itself inside a container, without root and with little of it: networks come up, or the fix is said.

The container has this machine's userland, mounted read-only into an image that is empty, so nothing is pulled or built.
Times are not judged: without real-time priority a busy machine makes links invalid (exit 3), never wrong.
"""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unprivileged import NOBODY, TREE

# the first test to run waits for the engine, which is installed on a fresh machine
pytestmark = [pytest.mark.docker, pytest.mark.shaped, pytest.mark.slow, pytest.mark.timeout(600)]

LIMIT_S = 90
FOLDERS = ("dev", "proc", "run", "sys", "tmp")  # that engines mount upon, or programs write to
LIBRARIES = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")  # links into /usr, or their own folders
ALL_PATHS: dict[str, Any] = {"MaskedPaths": [], "ReadonlyPaths": []}  # the API's way to say systempaths=unconfined
EXEC_TMP = {"/tmp": "exec,mode=1777"}
NO_APPARMOR = "apparmor=unconfined"

NO_RIGHTS: dict[str, Any] = {"ReadonlyRootfs": True, "CapDrop": ["ALL"], "Tmpfs": EXEC_TMP}
USER: dict[str, Any] = {
    **NO_RIGHTS,
    **ALL_PATHS,
    "SecurityOpt": ["no-new-privileges", "seccomp=unconfined", NO_APPARMOR],
}
ROOT: dict[str, Any] = {
    **ALL_PATHS,
    "CapAdd": ["NET_ADMIN", "SYS_ADMIN"],
    "Tmpfs": EXEC_TMP,
    "SecurityOpt": [NO_APPARMOR],
}


@dataclass(frozen=True)
class Machine:
    """An engine, the empty image, and a /dev/net/tun that everybody may open, as desktop distributions have it."""

    engine: Any
    image: str
    tun: Path

    def testbed(self, *arguments: object, user: int, host: dict[str, Any], tun: bool = True) -> tuple[int, str, str]:
        """Runs `testbed ARGUMENTS` in its own container; exit status, stdout, stderr."""
        device = {"PathOnHost": str(self.tun), "PathInContainer": "/dev/net/tun", "CgroupPermissions": "rwm"}
        config = {
            "Image": self.image,
            "Cmd": [sys.executable, "-m", "testbed", *map(str, arguments)],
            "User": f"{user}:{user}",
            "WorkingDir": "/tmp",
            "Env": [
                f"PATH={Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                f"PYTHONPATH={TREE}",
                "PYTHONDONTWRITEBYTECODE=1",
                "HOME=/tmp",
                f"LANG={os.environ.get('LANG', 'C.UTF-8')}",
            ],
            "HostConfig": {
                "NetworkMode": "none",
                "Devices": [device] if tun else [],
                "Mounts": [
                    {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": True} for path in userland()
                ],
                **host,
            },
        }
        api = self.engine.api
        made = api.create_container_from_config(config, f"wan-testbed-test-{uuid.uuid4().hex[:8]}")["Id"]
        try:
            api.start(made)
            status = api.wait(made, timeout=LIMIT_S)["StatusCode"]
            return status, api.logs(made, stderr=False).decode(), api.logs(made, stdout=False).decode()
        finally:
            api.remove_container(made, force=True)


def userland() -> list[Path]:
    """What a program of this machine needs to run, this Python and this tree: outermost folders only."""
    system = [path for name in LIBRARIES if (path := Path("/", name)).is_dir() and not path.is_symlink()]
    wanted = {Path("/usr"), Path("/etc"), *system, TREE, *(Path(one) for one in (sys.prefix, sys.base_prefix))}
    return sorted(one for one in wanted if not any(one != other and one.is_relative_to(other) for other in wanted))


def empty_image() -> bytes:
    """A tar archive of mount points, and of the links by which /bin and the like lead into /usr."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in (*FOLDERS, "etc", "usr"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755  # a tmpfs takes it over
            tar.addfile(folder)
        for name in LIBRARIES:
            if Path("/", name).is_symlink():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, str(Path("/", name).readlink())
                tar.addfile(link)
    return archive.getvalue()


@pytest.fixture(scope="module")
def machine(container_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    tun = tmp_path_factory.mktemp("device") / "tun"
    os.mknod(tun, stat.S_IFCHR | 0o666, os.makedev(10, 200))
    tun.chmod(0o666)  # whatever the umask
    name = f"wan-testbed-test-userland:{uuid.uuid4().hex[:8]}"
    repository, _, tag = name.partition(":")
    container_engine.api.import_image_from_data(empty_image(), repository, tag)
    yield Machine(container_engine, name, tun)
    container_engine.api.remove_image(name, force=True)
    tun.unlink()


@pytest.mark.parametrize("fabric", ["relay", "lab"])
@pytest.mark.parametrize(("user", "host", "privilege"), [(NOBODY, USER, "user namespace"), (0, ROOT, "container")])
def test_a_network_comes_up_inside_a_container(
    machine: Machine, user: int, host: dict[str, Any], privilege: str, fabric: str
) -> None:
    """As nobody without any capability and with a read-only root; and as root with two more capabilities."""
    arguments = ("probe", "two-sites", "--fabric", fabric, "--count", "40", "--json")
    status, out, err = machine.testbed(*arguments, user=user, host=host, tun=fabric == "relay")
    assert status in (0, 3), err
    found = json.loads(out)
    rows = found["links"]
    assert [(row["src"], row["dst"]) for row in rows] == [("near", "far"), ("far", "near")]
    assert (found["fabric"], found["privilege"]) == (fabric, privilege)
    assert all(row["received"] == 40 and row["median_ms"] > 0.9 * row["specified_ms"] for row in rows)
    assert ("not root: continuing in a user namespace" in err) == (privilege == "user namespace")


PLAIN = {**NO_RIGHTS, "SecurityOpt": []}
READ_ONLY_SYSCTLS = {key: value for key, value in USER.items() if key not in ALL_PATHS}
SYSTEMPATHS = "--security-opt systempaths=unconfined"
NO_EXEC_TMP = {**USER, "Tmpfs": {"/tmp": "mode=1777"}}
has_ipv6 = pytest.mark.skipif(not Path("/proc/sys/net/ipv6").exists(), reason="this kernel has no IPv6 to turn off")


@pytest.mark.parametrize(
    ("fabric", "host", "tun", "fix"),
    [
        pytest.param("relay", PLAIN, True, "--security-opt seccomp=unconfined", id="namespaces"),
        pytest.param("relay", READ_ONLY_SYSCTLS, True, SYSTEMPATHS, marks=has_ipv6, id="sysctls-relay"),
        pytest.param("lab", READ_ONLY_SYSCTLS, True, SYSTEMPATHS, marks=has_ipv6, id="sysctls-lab"),
        pytest.param("lab", NO_EXEC_TMP, False, "--tmpfs /tmp:exec", id="programs-in-memory"),
        pytest.param("relay", USER, False, "--device /dev/net/tun", id="tun"),
    ],
)
def test_what_the_container_withholds_is_said_in_one_line(
    machine: Machine, fabric: str, host: dict[str, Any], tun: bool, fix: str
) -> None:
    """With the option of `docker run` that gives it."""
    status, out, err = machine.testbed("probe", "two-sites", "--fabric", fabric, user=NOBODY, host=host, tun=tun)
    assert (status, out) == (4, ""), err
    said = [line for line in err.splitlines() if line.startswith("testbed: ")]
    assert len(said) == 1
    assert fix in said[0]
    assert "Traceback" not in err
