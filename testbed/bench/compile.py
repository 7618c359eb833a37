"""`python -m testbed.bench compile FOLDER`: the simulation's hot modules as machine code, by mypyc and a C compiler.

What comes out is kept only if it gives the same rows as the texts, in a simulation of each policy that it holds a part
of. `testbed.system.compiled` says how it is used, and why it can never stand in for a text that was edited.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec

from testbed.bench.simulation import BenchPhase, made_up_table
from testbed.errors import MachineCannot, RunInvalid
from testbed.files.datafiles import PACKAGE
from testbed.system.compiled import FACTS, MODULES, SUFFIX, VARIABLE, Facts, hashes

POLICIES = ("wanspec", "speculative", "autoregressive")
PROMPTS = 20
AGAIN = 4  # times that a policy is timed after the first: the fastest counts, as on a machine without other work
# -ffp-contract: no product and sum in one rounding, as Python has none; else rows differ where the processor has it
FLAGS = "-ffp-contract=off"
# of texts that are not compiled only their types are needed
MYPY_INI = "[mypy]\nignore_missing_imports = True\nfollow_imports = silent\nexplicit_package_bases = True\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.bench compile", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="where the compiled modules go, in place of those of before")
    folder: Path = parser.parse_args(arguments).folder
    compile_into(folder)
    try:
        before, after = _in_a_process(None), _in_a_process(folder)
        if before["rows"] != after["rows"]:
            raise RunInvalid(f"{folder}: the compiled modules give other rows than their texts; they will not be used")
    except BaseException:
        (folder / FACTS).unlink()  # without it none of them is imported; other files there may be the user's
        raise
    for policy in POLICIES:
        text, compiled = before["speeds"][policy], after["speeds"][policy]
        print(f"{policy}: {text:,.0f} tokens/s as text, {compiled:,.0f} compiled; the same rows")
    print(f"use them: {VARIABLE}={folder.resolve()} testbed run ... --engine simulation")
    return 0


def missing() -> str | None:
    """What this machine lacks to compile; None: nothing."""
    if find_spec("mypyc") is None:
        return "mypyc is not installed: pip install 'wan-testbed[dev]'"
    compiler = os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler found ({compiler}): apt-get install gcc"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "no headers of this Python found (Python.h): apt-get install python3-dev"
    return None


def compile_into(folder: Path, modules: Sequence[str] = MODULES, level: int = 3) -> None:
    """Compiles the package's modules as they are now. MachineCannot where something is missing, or mypyc fails."""
    if (lacking := missing()) is not None:
        raise MachineCannot(f"compile: {lacking}")
    sources = hashes()
    with tempfile.TemporaryDirectory(prefix="wan-testbed-compile-") as name:
        build = Path(name)
        shutil.copytree(PACKAGE, build / "testbed", ignore=shutil.ignore_patterns("__pycache__"))
        (build / "testbed" / "__init__.py").write_text('"""Its names are of no use here, and import all there is."""\n')
        (build / "mypy.ini").write_text(MYPY_INI)
        files = [f"{module.replace('.', '/')}.py" for module in modules]
        done = subprocess.run(
            [sys.executable, "-m", "mypyc", *files],
            cwd=build,
            env={**os.environ, "CFLAGS": FLAGS, "MYPYC_OPT_LEVEL": str(level), "PYTHONPATH": "", VARIABLE: ""},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            words = [line for line in done.stdout.splitlines() if "error" in line] or done.stderr.splitlines()[-1:]
            raise MachineCannot(f"compile: mypyc failed: {words[0] if words else 'without a word'}")
        made = {
            _module(path, build): path
            for path in sorted(build.glob(f"**/*{SUFFIX}"))
            if "build" not in path.relative_to(build).parts
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).unlink(missing_ok=True)
        for module, path in made.items():
            shutil.copyfile(path, folder / f"{module}{SUFFIX}")
        (folder / FACTS).write_bytes(msgspec.json.encode(Facts(tuple(sorted(made)), sources, SUFFIX)))


def _module(path: Path, build: Path) -> str:
    return path.relative_to(build).as_posix().removesuffix(SUFFIX).replace("/", ".")


def _in_a_process(folder: Path | None) -> dict[str, dict[str, float]]:
    """Rows by hash and speed of each policy, as texts or as compiled in this folder."""
    done = subprocess.run(
        [sys.executable, "-c", "from testbed.bench.compile import said; print(said())"],
        env={**os.environ, VARIABLE: "" if folder is None else str(folder)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RunInvalid(f"compile: a simulation failed: {done.stderr.splitlines()[-1]}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def said() -> str:
    """What the process that asks simulates, as JSON."""
    rows, speeds = {}, {}
    table = made_up_table(PROMPTS)
    for policy in POLICIES:
        phase = BenchPhase(policy, table)
        log, speed = phase.timed()
        speeds[policy] = max(speed, *(phase.timed()[1] for _ in range(AGAIN)))
        found = hashlib.sha256()
        for kind in (log.requests, log.rounds, log.steps, log.messages):
            found.update(msgspec.msgpack.encode(kind))
        rows[policy] = found.hexdigest()
    return json.dumps({"rows": rows, "speeds": speeds})
