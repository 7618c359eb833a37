"""Nothing decodes a file that people bring but through `testbed.files.reading`: looked up in the code itself."""

from __future__ import annotations

import ast
from pathlib import Path

import testbed

ROOT = Path(testbed.__file__).parent
DECODERS = {
    ("yaml", "safe_load"), ("yaml", "load"), ("yaml", "SafeLoader"), ("json", "loads"), ("json", "load"),
    ("pq", "read_table"), ("pq", "read_schema"), ("pq", "ParquetFile"), ("csv", "reader"), ("pickle", "load"),
    ("pickle", "loads"), ("runpy", "run_path"), ("np", "load"), ("torch", "load"),
}  # fmt: skip
METHODS = {"read_text", "read_bytes", "exec_module"}
# Who else may, and why: what they read, no person brings.
DOOR = {
    "files/reading.py",
    "files/yamltext.py",
    "network/spec/mininet_topo.py",
}  # the last runs Python, inside `foreign`
# Who else may, and why.
KERNEL = "files of the kernel, or of the system"
OURS = "what our own processes say to each other, or wrote a moment ago"
TRUSTED = "the package's own files, and what a maker of models or images gives by hand"
GUARDED = "what is damaged there counts as not there, or is answered on the spot"
ELSEWHERE = {
    "containers/nodes.py": KERNEL, "containers/priority.py": KERNEL, "emulation/evidence.py": KERNEL,
    "emulation/lock.py": KERNEL, "emulation/means.py": KERNEL, "emulation/usage.py": KERNEL,
    "emulation/sharedworkers.py": KERNEL, "network/tcproutes.py": KERNEL,
    "system/makers.py": KERNEL, "models/placement.py": KERNEL, "models/speed.py": KERNEL,
    "network/capabilities.py": KERNEL, "network/lab/modules.py": KERNEL, "system/netns.py": KERNEL,
    "system/undoing.py": KERNEL, "system/userns.py": KERNEL, "results/manifest.py": KERNEL, "system/rights.py": KERNEL,
    "network/measure/capture.py": OURS, "network/measure/capture_process.py": OURS, "network/lab/kernel.py": OURS,
    "network/measure/probe.py": OURS, "network/measure/probe_process.py": OURS, "network/relay/fabric.py": OURS,
    "network/relay/process.py": OURS, "network/measure/watch.py": OURS, "network/measure/watch_process.py": OURS,
    "nodes/contained.py": OURS, "nodes/piped.py": OURS, "nodes/program.py": OURS, "containers/daemon.py": OURS,
    "api/commandline.py": OURS, "nodes/recorded.py": OURS,
    "emulation/nodetemplate.py": OURS, "system/template.py": OURS, "reproduce/figures.py": OURS,
    "containers/build.py": TRUSTED, "containers/images.py": TRUSTED, "containers/installed.py": TRUSTED,
    "models/catalogue.py": TRUSTED, "training/card.py": TRUSTED, "training/corpus.py": TRUSTED,
    "models/load.py": TRUSTED, "sweeps/plan.py": TRUSTED, "cli/reference/kept.py": TRUSTED,
    "models/kept.py": GUARDED, "models/lean/pack.py": GUARDED, "models/folder.py": GUARDED,
    "system/journal.py": GUARDED, "results/attempts.py": GUARDED,
}  # fmt: skip


def calls(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and words of each call of a decoder, or of a read of a whole file."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner, name = node.func.value, node.func.attr
        if (isinstance(owner, ast.Name) and (owner.id, name) in DECODERS) or name in METHODS:
            found.append((node.lineno, ast.unparse(node.func)))
        if name == "decode" and isinstance(owner, ast.Attribute) and ast.unparse(owner) in ("msgspec.json",):
            found.append((node.lineno, ast.unparse(node.func)))
    return found


def test_the_search_finds_what_it_looks_for() -> None:
    text = "import json\njson.loads(x)\nPath(y).read_text()\nmsgspec.json.decode(z)\nyaml.safe_load(a)\nlog.info(b)\n"
    assert [line for line, _ in calls(ast.parse(text))] == [2, 3, 4, 5]


def test_no_file_of_a_user_is_decoded_outside_the_door() -> None:
    """A new reader goes through `testbed.files.reading`, or says here why it need not."""
    found: dict[str, list[tuple[int, str]]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name not in DOOR and not name.startswith("bench/") and (here := calls(ast.parse(path.read_text()))):
            found[name] = here
    assert {name: here for name, here in found.items() if name not in ELSEWHERE} == {}
    assert set(ELSEWHERE) - set(found) == set(), "entries that nothing needs any more"
