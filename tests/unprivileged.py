"""Runs the testbed as an ordinary user, from a test session that is root: what a newcomer without root would see.

In its own mount namespace, so that the machine stays as it is: the tree and the interpreter may lie where only
root can read, and /dev/net/tun may be root's alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOBODY = 65534
TREE = Path(__file__).resolve().parents[1]
SCRIPT = """\
set -e
mount --bind "$INTERPRETER" "$STAGE/python"
mount --bind "$TREE" "$STAGE/tree"
if [ "$TUN" = open ]; then
    mount -t tmpfs -o mode=0755 tmpfs "$STAGE/dev"
    mknod -m 0666 "$STAGE/dev/tun" c 10 200
    mount --bind "$STAGE/dev/tun" /dev/net/tun
else
    mount --bind "$STAGE/closed" /dev/net/tun
fi
cd "$STAGE/home"
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all -- "$@"
"""


@dataclass(frozen=True)
class Stage:
    """A home for nobody, below a folder that everybody may enter."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Stage:
        for part in ("python", "tree", "dev", "home"):
            (folder / part).mkdir()
        (folder / "closed").touch(mode=0o600)
        shutil.chown(folder / "home", NOBODY, NOBODY)
        folder.chmod(0o755)
        return cls(folder)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def testbed(self, *arguments: object, tun: bool = True, **options: Any) -> subprocess.Popen[str]:
        """Starts `testbed ARGUMENTS` as nobody, in its home."""
        base = Path(sys.base_prefix)
        python = self.folder / "python" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = Path(sysconfig.get_paths()["purelib"])
        inside = self.tree / packages.relative_to(TREE) if packages.is_relative_to(TREE) else packages
        environment = {
            "PATH": f"{python.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_LIBRARY_PATH": str(self.folder / "python" / "lib"),  # of an interpreter that has its library beside it
            "PYTHONPATH": f"{self.tree}:{inside}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "STAGE": str(self.folder),
            "TREE": str(TREE),
            "INTERPRETER": str(base),
            "TUN": "open" if tun else "closed",
        }
        argv = ["unshare", "--mount", "bash", "-c", SCRIPT, "-", str(python), "-m", "testbed", *map(str, arguments)]
        return subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    def run(self, *arguments: object, tun: bool = True, seconds: float = 200) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        process = self.testbed(*arguments, tun=tun)
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err
