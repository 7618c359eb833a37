"""`python -m testbed.bench fuzz`: mutated files through every loader, each counted for a traceback, a hang or memory.

With atheris (the extra `fuzz`) mutations are guided by coverage, in one process per loader; without it, or with
`--plain`, they are seeded flips, cuts, repeats, splices and tokens. What is not BadInput or another error of ours, what
takes longer than the limit and what grows the process by more than 200 MB is printed with the input that did it.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType

from testbed.bench.fuzzloaders import LOADERS, Loader, call, close
from testbed.errors import TestbedError

LIMIT_S = 10.0
LIMIT_MB = 200
# Whose branches guide the mutations: they are imported with counters in them.
INSTRUMENTED = (
    "yaml", "testbed.files.yamltext", "testbed.files.yamlfile", "testbed.files.figures",
    "testbed.experiment.scenario", "testbed.experiment.overrides",
    "testbed.sweep.plan", "testbed.sweep.matrix", "testbed.network.spec.topology", "testbed.network.spec.series",
    "testbed.models.devices", "testbed.tables.file", "testbed.workload.prompts",
    "testbed.policies.wisp.classifier",
    "testbed.reproduce.claims", "testbed.results.store",
)  # fmt: skip
TOKENS = (
    b"0100", b"1:30", b"yes", b".inf", b".nan", b"1e999", b"-1", b"9" * 30, b"'", b'"', b"\0", b"\xff",
    b"\xef\xbb\xbf", b"*a", b"&a ", b"<<: ", b"!!int ", b"{", b"}", b"[", b"]", b"[" * 60, b"null", b"true", b"\n",
    b"\r", b"\t", b": ", b"- ", b"%", b"2026-02-30", b"\xe2\x80\xa8", b"\\u0000", b"1e-300", b"NaN", b"../",
    b"[bold]", b"\xd9\xa1", b"1000000000000", b"---\n",
)  # fmt: skip


@dataclass
class Found:
    """What a loader did with its inputs."""

    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    grown_mb: float = 0.0
    slowest_s: float = 0.0
    bad: list[str] = field(default_factory=list)  # one line each

    def line(self, name: str) -> str:
        return (
            f"{name:11} {self.inputs:9} inputs, {self.accepted} accepted, {len(self.bad)} bad; slowest "
            f"{self.slowest_s:.2f} s, grown {self.grown_mb:.0f} MB, {self.seconds:.0f} s"
        )


class TooLong(BaseException):
    """No Exception, so that no reader takes it for a fault of the file."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def late(signum: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def one_input(loader: Loader, content: bytes, folder: Path, found: Found) -> None:
    """Reads it and notes what came of it."""
    before, start = _peak_mb(), time.perf_counter()
    try:
        with limited(LIMIT_S):
            call(loader, content, folder)
        found.accepted += 1
    except TestbedError as error:
        if "\n" in str(error):
            found.bad.append(f"more than one line: {str(error)[:200]!r} for {content[:2000]!r}")
    except TooLong:
        found.bad.append(f"longer than {LIMIT_S:g} s for {content[:2000]!r}")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        found.bad.append(f"{type(error).__name__}: {str(error)[:200]!r} for {content[:2000]!r}")
    found.inputs += 1
    found.slowest_s = max(found.slowest_s, time.perf_counter() - start)
    grown = _peak_mb() - before
    found.grown_mb = max(found.grown_mb, grown)
    if grown > LIMIT_MB:
        found.bad.append(f"grew by {grown:.0f} MB for {content[:2000]!r}")


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """A seed after one to six changes."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at, end = sorted(chance.randint(0, len(content)) for _ in range(2))
        match chance.randrange(7):
            case 0 if content:
                content[at % len(content)] ^= 1 << chance.randrange(8)
            case 1:
                del content[at : min(end, at + 40)]
            case 2:
                content[at:at] = chance.choice(TOKENS)
            case 3:
                content[at : min(end, at + 10)] = chance.choice(TOKENS)
            case 4:
                content[at:at] = content[at : min(end, at + 100)] * chance.randint(1, 8)
            case 5:
                other = chance.choice(seeds)
                begin = chance.randint(0, len(other))
                content[at:end] = other[begin : begin + end - at]
            case _:
                del content[at:]
                break
    return bytes(content[:100_000])


def plain(loader: Loader, count: int, seconds: float, seed: int) -> Found:
    """Seeded mutations, in this process."""
    found, chance, seeds = Found(), random.Random(f"{seed}/{loader.name}"), loader.seeds()
    with tempfile.TemporaryDirectory(prefix="testbed-fuzz-") as folder:
        for content in seeds:  # also loads what has to be loaded once
            one_input(loader, content, Path(folder), Found())
        begun = time.monotonic()
        while found.inputs < count and time.monotonic() - begun < seconds and len(found.bad) < 20:
            one_input(loader, mutated(seeds, chance), Path(folder), found)
    found.seconds = time.monotonic() - begun
    return found


def guided(loader: Loader, count: int, seconds: float) -> int:
    """By atheris, in a process that is the loader's own: it ends it, as libFuzzer does not come back."""
    import atheris

    with atheris.instrument_imports(include=["testbed", "yaml"]):
        for name in INSTRUMENTED:
            import_module(name)
    folder, corpus = Path(tempfile.mkdtemp(prefix="testbed-fuzz-")), Path(tempfile.mkdtemp(prefix="testbed-corpus-"))
    for index, content in enumerate(loader.seeds()):
        (corpus / f"seed{index}").write_bytes(content)
        one_input(loader, content, folder, Found())
    found, begun = Found(), time.monotonic()

    def test(content: bytes) -> None:
        one_input(loader, content, folder, found)
        found.seconds = time.monotonic() - begun
        if found.inputs >= count or found.seconds >= seconds or len(found.bad) >= 20:
            print(found.line(loader.name), *found.bad, sep="\n  ", flush=True)
            for made in (folder, corpus):
                shutil.rmtree(made, ignore_errors=True)
            close()
            os._exit(int(bool(found.bad)))

    arguments = ["-timeout=60", "-rss_limit_mb=4096", "-max_len=20000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], test)
    atheris.Fuzz()
    return 1  # libFuzzer gave up by itself


def main(arguments: list[str]) -> int:
    """Status 1 where something bad was found."""
    parser = argparse.ArgumentParser(prog="python -m testbed.bench fuzz", description=__doc__)
    parser.add_argument("--loader", action="append", choices=sorted(LOADERS), help="default: every one")
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs a loader")
    parser.add_argument("--seconds", type=float, default=3600.0, help="at most, a loader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="not guided by coverage")
    parser.add_argument("--guided-here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    names = asked.loader or list(LOADERS)
    if asked.guided_here:
        return guided(LOADERS[names[0]], asked.count, asked.seconds)
    worst = 0
    for name in names:
        if asked.plain or not _has_atheris():
            found = plain(LOADERS[name], asked.count, asked.seconds, asked.seed)
            print(found.line(name), *found.bad, sep="\n  ", flush=True)
            worst = max(worst, int(bool(found.bad)))
            continue
        command = [sys.executable, "-m", "testbed.bench.fuzz", "--guided-here", "--loader", name]
        command += ["--count", str(asked.count), "--seconds", str(asked.seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        print(done.stdout, end="", flush=True)
        worst = max(worst, int(done.returncode != 0 or " 0 bad" not in done.stdout))
    close()
    return worst


def _has_atheris() -> bool:
    from importlib.util import find_spec

    return find_spec("atheris") is not None


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
