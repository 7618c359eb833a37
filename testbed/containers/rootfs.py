"""A base image's file system out of the distribution's own packages: Python, the C++ and OpenMP runtimes, little else.

Packages are fetched with apt's own checks and unpacked, not installed: no shell, no package manager, no setup scripts.
That is enough for a Python program and leaves little in the image. Needs no engine.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import MachineCannot

USER_ID = 10001  # as in images/*/Dockerfile
# asked for by package scripts and for interactive use; a node's program runs without them
NOT_FOLLOWED = frozenset({"debconf", "dpkg", "install-info", "mailcap", "media-types", "mime-support", "perl", "tar"})
PASSWD = f"root:x:0:0:root:/:/nonexistent\ntestbed:x:{USER_ID}:{USER_ID}:testbed:/tmp:/nonexistent\n"
GROUP = f"root:x:0:\ntestbed:x:{USER_ID}:\n"


@dataclass(frozen=True)
class Fetched:
    """A package as apt would fetch it: the URI names its version."""

    uri: str
    file: str
    checksum: str


def python_version() -> str:
    """Of the interpreter that is running: compiled packages fit no other."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def wanted(python: str) -> tuple[str, ...]:
    return (f"python{python}-minimal", f"libpython{python}-stdlib", "libstdc++6", "libgomp1", "base-files")


def resolve() -> list[Fetched]:
    """Everything to be fetched. Raises MachineCannot when the distribution has no such Python."""
    first = wanted(python_version())
    if not _knows(first[0]):
        _apt("apt-get", "update", "-qq")
        if not _knows(first[0]):
            raise MachineCannot(
                f"images build --offline: this distribution has no package {first[0]}; build the environment with "
                "the distribution's Python (PYTHON=python3 ./setup.sh), or drop --offline"
            )
    # download takes what is installable, and --print-uris fetches nothing
    lines = _apt("apt-get", "download", "--print-uris", "-qq", *_closure(first)).splitlines()
    fields = [line.split() for line in lines if line.startswith("'")]
    if not fields:
        raise MachineCannot("images build --offline: apt-get lists no files to fetch; run: apt-get update")
    return [Fetched(one[0].strip("'"), one[1], one[-1]) for one in fields]


def key(packages: list[Fetched]) -> str:
    """The same for the same packages, whenever and wherever they are fetched from."""
    text = "\n".join(sorted(f"{one.file} {one.checksum}" for one in packages)) + PASSWD + GROUP
    return hashlib.sha256(text.encode()).hexdigest()


def write_tar(packages: list[Fetched], target: Path) -> None:
    """Fetches, unpacks, and writes the file system as a tar archive."""
    with tempfile.TemporaryDirectory(prefix="wan-testbed-root.") as folder:
        downloads, root = Path(folder, "packages"), Path(folder, "root")
        downloads.mkdir(mode=0o755)
        names = [one.file.partition("_")[0] for one in packages]
        _apt("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *names, cwd=downloads)
        _prepare(root)
        for archive in sorted(downloads.glob("*.deb")):
            _unpack(archive, root)
        (root / "usr/bin/python3").unlink(missing_ok=True)
        (root / "usr/bin/python3").symlink_to(f"python{python_version()}")
        (root / "etc/passwd").write_text(PASSWD)
        (root / "etc/group").write_text(GROUP)
        with tarfile.open(target, "w") as tar:
            tar.add(root, arcname=".", filter=_leave_out_documents)


def _prepare(root: Path) -> None:
    """The merged /usr of every supported distribution: without these links a package's /lib would hide it."""
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "tmp", "node"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "tmp").chmod(0o1777)


def _unpack(archive: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as reader:
        command = ["tar", "-x", "-C", str(root), "--keep-directory-symlink", "--no-same-owner"]
        writer = subprocess.run(command, stdin=reader.stdout, capture_output=True, text=True, check=False)
    if reader.returncode or writer.returncode:
        raise MachineCannot(f"images build --offline: {archive.name} cannot be unpacked: {writer.stderr.strip()}")


def _leave_out_documents(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Manuals and translations go; licences (/usr/share/doc/*/copyright) stay."""
    path = member.name.removeprefix("./")
    if path.startswith(("usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/share/info/")):
        return None
    if path.startswith("usr/share/doc/") and member.isfile() and not path.endswith("/copyright"):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _closure(first: tuple[str, ...]) -> list[str]:
    """What `first` depends on, directly or not; alternatives are all taken."""
    depends = _depends(_apt("apt-cache", "depends", "--recurse", "--important", *first))
    found: list[str] = []
    waiting = list(first)
    while waiting:
        name = waiting.pop(0)
        if name in found or name in NOT_FOLLOWED:
            continue
        found.append(name)
        if name != "base-files":  # its files say what the distribution is; what it depends on is a shell's
            waiting += depends.get(name, [])
    return found


def _depends(shown: str) -> dict[str, list[str]]:
    """What each package depends on, as `apt-cache depends --recurse` shows it: names flush left, relations indented."""
    found: dict[str, list[str]] = {}
    package = ""
    for line in shown.splitlines():
        kind, relation, name = line.strip().removeprefix("|").partition(": ")
        if not line.startswith(" "):
            package = line.strip()
            found.setdefault(package, [])
        elif relation and kind in ("Depends", "PreDepends") and not name.startswith("<"):
            found[package].append(name)  # <virtual>: its providers are listed below it and flush left themselves
    return found


def _knows(package: str) -> bool:
    shown = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
    return shown.returncode == 0 and bool(shown.stdout)


def _apt(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    except FileNotFoundError as error:
        raise MachineCannot(
            f"images build --offline: {command[0]} is missing; --offline needs Debian or Ubuntu, drop it elsewhere"
        ) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise MachineCannot(f"images build --offline: {' '.join(command[:3])}: {said}")
    return done.stdout
