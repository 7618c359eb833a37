"""setup.sh decides rightly and repairs what was interrupted. Python, pip and apt-get are stand-ins that keep a log."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    "-m venv"*)
        echo "python{version} $*" >>"$LOG"
        mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$STUBS/pip" .venv/bin/pip ;;
    "- "*) exit 1 ;;  # asks whether the right PyTorch is there
esac
"""
APT = """#!/bin/sh
echo "apt-get $*" >>"$LOG"
case "$*" in
    *python3.11*) cp "$STUBS/hidden" "$STUBS/python3.11" ;;
    *user-mode-linux*) exit 100 ;;
esac
"""


class Checkout:
    """A folder with setup.sh in it and the stand-ins first on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stubs, self.log = folder / "checkout", folder / "stubs", folder / "log"
        self.stubs.mkdir()
        self.folder.mkdir()
        shutil.copy("setup.sh", self.folder)
        for name in ("requirements.lock", "pyproject.toml"):
            (self.folder / name).touch()
        self.stub("pip", '#!/bin/sh\necho "pip $*" >>"$LOG"\n')
        self.stub("apt-get", APT)
        self.stub("id", "#!/bin/sh\necho 0\n")
        self.stub("uname", '#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo x86_64\n')
        self.stub("linux.uml", "#!/bin/sh\n")
        for name in ("python3", "python3.13", "python3.12", "python3.11"):
            self.stub(name, "#!/bin/sh\nexit 1\n")  # as an interpreter that is too old

    def stub(self, name: str, text: str) -> None:
        path = self.stubs / name
        path.write_text(text)
        path.chmod(0o755)

    def python(self, name: str, version: str) -> None:
        self.stub(name, PYTHON.format(version=version))

    def setup(self, **environment: str) -> tuple[int, list[str], str]:
        """Exit status, the commands it gave, what it said."""
        self.log.write_text("")
        path = f"{self.stubs}:{os.environ['PATH']}"
        keep = {key: value for key, value in os.environ.items() if key not in ("PYTHON", "TORCH")}
        given = {**keep, "PATH": path, "LOG": str(self.log), "STUBS": str(self.stubs), **environment}
        done = subprocess.run(["bash", "setup.sh"], cwd=self.folder, env=given, capture_output=True, text=True)
        return done.returncode, self.log.read_text().splitlines(), done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_a_second_call_does_nothing(checkout):
    checkout.python("python3", "3.11")
    status, commands, said = checkout.setup()
    assert status == 0, said
    assert "python3.11 -m venv --clear .venv" in commands
    assert [line for line in checkout.setup()[1] if not line.startswith("apt-get")] == []


def test_without_a_fitting_python_it_is_installed_and_said(checkout):
    """Ubuntu 22.04 has Python 3.10."""
    checkout.python("hidden", "3.11")
    status, commands, said = checkout.setup()
    assert status == 0, said
    assert any("install" in line and "python3.11 python3.11-venv" in line for line in commands)
    assert "no Python 3.11 to 3.13 found; installing python3.11" in said


def test_without_root_a_missing_python_exits_4_with_the_fix(checkout):
    checkout.stub("id", "#!/bin/sh\necho 1000\n")
    status, commands, said = checkout.setup()
    assert (status, commands) == (4, [])
    assert "apt-get install python3.11 python3.11-venv" in said


def test_an_interrupted_environment_is_made_again(checkout):
    checkout.python("python3", "3.11")
    checkout.setup()
    (checkout.folder / ".venv/bin/pip").unlink()
    _, commands, _ = checkout.setup()
    assert "python3.11 -m venv --clear .venv" in commands
    assert any(line.startswith("pip install") and "requirements.lock" in line for line in commands)


def test_another_python_makes_the_environment_again_and_is_kept(checkout):
    checkout.python("python3", "3.11")
    checkout.python("python3.12", "3.12")
    checkout.setup()
    assert "python3.12 -m venv --clear .venv" in checkout.setup(PYTHON="python3.12")[1]
    assert not any("venv" in line for line in checkout.setup()[1]), "make test would undo the choice"


def test_the_cuda_build_replaces_the_cpu_build_and_is_kept(checkout):
    """For pip, torch 2.13.0+cpu satisfies ==2.13.0, so the old one must go first."""
    checkout.python("python3", "3.11")
    _, first, _ = checkout.setup()
    assert any(line.startswith("pip install") and line.endswith("+cpu") for line in first)
    _, commands, _ = checkout.setup(TORCH="cuda")
    torch = [line.split()[1] for line in commands if "torch" in line]
    assert torch == ["uninstall", "install"]
    assert not any("+cpu" in line for line in commands)
    assert not any("torch" in line for line in checkout.setup()[1]), "make test would undo the choice"
    assert "TORCH=gpu is not known" in checkout.setup(TORCH="gpu")[2]


def test_an_interrupted_change_of_pytorch_is_finished_by_the_next_call(checkout):
    checkout.python("python3", "3.11")
    checkout.setup()
    good = (checkout.folder / ".venv/bin/pip").read_text()
    (checkout.folder / ".venv/bin/pip").write_text('#!/bin/sh\n[ "$1" != install ]\n')
    assert checkout.setup(TORCH="cuda")[0] != 0
    (checkout.folder / ".venv/bin/pip").write_text(good)
    _, commands, _ = checkout.setup()
    assert any(line.startswith("pip install") and "torch==" in line and "+cpu" not in line for line in commands)


def test_without_the_lab_kernel_set_up_goes_on_and_asks_only_once(checkout):
    """Debian has user-mode-linux for x86 only."""
    checkout.python("python3", "3.11")
    text = (checkout.folder / "setup.sh").read_text()
    assert "/usr/lib/uml/modules" in text
    (checkout.folder / "setup.sh").write_text(text.replace("/usr/lib/uml/modules", "/no/such/folder"))
    status, commands, said = checkout.setup()
    assert status == 0, said
    assert any("user-mode-linux" in line for line in commands)
    assert "no lab fabric: user-mode-linux cannot be installed here" in said
    assert not any("user-mode-linux" in line for line in checkout.setup()[1])
