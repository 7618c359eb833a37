"""What goes into an image: exactly the packages and the code a node needs, as installed. No engine is needed here."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from testbed.containers import images, installed, rootfs
from testbed.errors import MachineCannot
from testbed.files.datafiles import PACKAGE
from testbed.models.fitness import require_fit
from testbed.models.limits import Text

NODE_IMPORTS = """\
import sys
import testbed.nodes.program, testbed.nodes.worker, testbed.nodes.contained, testbed.nodes.health
import testbed.models.placement
from testbed.models.fit import Fitness
from testbed.models.timing import Timing
from testbed.models.lookup import LOOKUP
from testbed.nodes.jobs import WorkerConfig
from testbed.nodes.worker import LoadedModels
from testbed.policies import registry
for name in registry.names(): registry.get(name)
NATIVE = Timing("native", True, (), 4096)
fitness = Fitness({}, {"target": 2048}, {"draft": sys.argv[1]} if sys.argv[1] else {})
for name in ("tiny-draft", LOOKUP):
    LoadedModels(WorkerConfig({"draft": name}, {"draft": NATIVE}, fitness=fitness)).compute()
"""
TRANSFORMERS_TOO = """
LoadedModels(WorkerConfig({"draft": "tiny-draft"}, {"draft": NATIVE}, passes="transformers")).compute()
"""


@pytest.mark.slow
@pytest.mark.parametrize("torch", [False, True])
def test_every_module_and_package_that_a_node_needs_is_in_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: bool
) -> None:
    """With nothing else to be found, the models load and run; and of ours they import nothing that is not packed."""
    (tmp_path / "testbed").symlink_to(PACKAGE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pack = require_fit({"draft": "tiny-draft"}, {}, [Text("p", (1,), 2)]).packs["draft"]
    light = installed.packages()
    for package in [*light, *(installed.heavy_packages(light) if torch else ())]:
        for place, path in package.files:
            top = place.parts[0]
            if not (tmp_path / top).is_symlink():
                (tmp_path / top).symlink_to(Path(str(path).removesuffix(str(place))) / top)
    told = (
        "for name, module in sys.modules.items():\n"
        "    if name.split('.')[0] == 'testbed' and getattr(module, '__file__', None): print(module.__file__)"
    )
    shown = subprocess.run(
        [sys.executable, "-S", "-c", NODE_IMPORTS + TRANSFORMERS_TOO * torch + told, "" if torch else pack],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": "."}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    imported = {Path(one).relative_to(tmp_path / "testbed").as_posix() for one in shown.stdout.split()}
    assert len(imported) > 50
    assert imported <= {place for place, _ in images.code_files()}


def test_only_what_transformers_needs_is_left_out_of_the_small_image() -> None:
    light = {one.name for one in installed.packages()}
    heavy = {one.name for one in installed.heavy_packages(installed.packages())}
    assert {"msgspec", "numpy", "pydantic", "PyYAML", "threadpoolctl"} <= light and len(light) < 16
    assert {"torch", "transformers", "tokenizers", "safetensors"} <= heavy and not light & heavy
    assert not {"torch", "transformers", "tokenizers", "pandas", "pyarrow"} & light


def test_models_are_not_in_the_image():
    assert not [place for place, _ in images.code_files() if place.endswith(".safetensors")]


def test_the_code_key_changes_with_any_file_of_the_nodes(monkeypatch):
    before = images.code_key()
    files = images.code_files()
    assert images.code_key() == before
    monkeypatch.setattr(images, "code_files", lambda: files[1:])
    assert images.code_key() != before


def test_a_file_that_is_not_as_installed_is_refused(tmp_path):
    (package,) = [one for one in installed.packages(["tqdm"]) if one.name == "tqdm"]
    installed.verify(package)
    place, path = next((place, path) for place, path in package.files if place.name == "std.py")
    changed = tmp_path / "std.py"
    changed.write_bytes(path.read_bytes() + b"# changed\n")
    files = tuple((one, changed if one == place else there) for one, there in package.files)
    with pytest.raises(MachineCannot, match="differs from the installed tqdm"):
        installed.verify(replace(package, files=files))


@pytest.mark.slow
def test_whatever_is_packed_has_a_hash_to_be_checked_against():
    """But for the lists of the hashes. What an installer compiled has none, and stays behind."""
    light = installed.packages()
    for package in [*light, *installed.heavy_packages(light)]:
        recorded = {PurePosixPath(one): one.hash for one in metadata.distribution(package.name).files}
        assert {place.name for place, _ in package.files if recorded[place] is None} == {"RECORD"}, package.name


def test_nothing_is_packed_that_a_node_never_runs():
    (torch,) = [one for one in installed.packages(["torch"]) if one.name == "torch"]
    assert not [place for place, _ in torch.files if place.is_relative_to(PurePosixPath("torch/include"))]


def test_what_a_package_requires_in_brackets_is_packed_too(tmp_path, monkeypatch):
    """As the CUDA build of PyTorch requires its libraries, and no more of them than it names."""
    requires = {
        "heavy": ["toolkit[blas,runtime]==13.0; platform_system == 'Linux'", "spare; extra == 'optional'"],
        "toolkit": ["blas-13; extra == 'blas'", "runtime-13; extra == 'runtime'", "fft-13; extra == 'fft'"],
        "blas-13": ["toolkit"],
        "runtime-13": [],
    }
    for name, wanted in requires.items():
        folder = tmp_path / f"{name.replace('-', '_')}-13.0.dist-info"
        folder.mkdir()
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            "Version: 13.0",
            *(f"Requires-Dist: {one}" for one in wanted),
        ]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        (folder / "RECORD").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {one.name for one in installed.packages(["heavy"])}
    assert names & {*requires, "fft-13", "spare"} == set(requires)


def test_a_missing_package_is_named():
    with pytest.raises(MachineCannot, match="no-such-package"):
        installed.packages(["no-such-package"])


def test_what_packages_depend_on_is_read_from_apts_words():
    shown = (
        "python3.11-minimal\n  PreDepends: libc6\n |Depends: a\n  Depends: <virtual>\n    b\n  Suggests: c\n"
        "libc6\n  Depends: libgcc-s1\n<virtual>\nlibgcc-s1\n"
    )
    found = rootfs._depends(shown)
    assert found["python3.11-minimal"] == ["libc6", "a"]
    assert found["libc6"] == ["libgcc-s1"]
    assert found["libgcc-s1"] == []


def test_the_key_of_a_root_follows_its_packages_and_not_where_they_came_from():
    one = rootfs.Fetched("http://a/x_1.deb", "x_1.deb", "sha256:1")
    assert rootfs.key([one]) == rootfs.key([replace(one, uri="http://b/x_1.deb")])
    assert rootfs.key([one]) != rootfs.key([replace(one, checksum="sha256:2")])
