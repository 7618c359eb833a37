"""`python -m testbed.bench fuzz`: mutated files through every loader, each counted for a traceback, a hang or memory.

Two parts per loader, each in its own process. First, with atheris (the extra `fuzz`), mutations guided by coverage:
instrumented and slow, they grow a corpus. Then seeded mutations of the shipped files and of that corpus, at full speed:
flips, cuts, repeats, splices, tokens, and words exchanged for others. What is not BadInput or another error of ours,
what takes longer than the limit and what grows the process by more than 200 MB is printed with the input that did it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType

from testbed.bench.fuzzloaders import LOADERS, Loader, call, close
from testbed.errors import TestbedError

LIMIT_S = 10.0  # of processor time, so that a busy machine is not a hang
WAITING_S = 120.0  # by the clock
LIMIT_MB = 200
MOST_BAD = 20  # then a loader is given up
LONGEST_GUIDED = 20_000  # bytes
IN_MEMORY = Path("/dev/shm")  # writing a small file to a disk takes longer than most loaders take to read it
WORD = re.compile(rb"[\w.%+-]+")
# Whose branches guide the mutations: they are imported with counters in them.
INSTRUMENTED = (
    "yaml", "testbed.files.yamltext", "testbed.files.yamlfile", "testbed.files.numbers",
    "testbed.experiment.scenario", "testbed.experiment.overrides",
    "testbed.sweeps.plan", "testbed.sweeps.matrix", "testbed.network.spec.topology", "testbed.network.spec.series",
    "testbed.models.devices", "testbed.tables.file", "testbed.workload.prompts",
    "testbed.policies.wisp.classifier",
    "testbed.reproduce.claims", "testbed.results.store",
    "testbed.network.spec.matrixfile", "testbed.network.imports.formats", "testbed.network.imports.written",
    "testbed.workload.load.source", "testbed.workload.load.fit",
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
    guided: int = 0  # of them, by coverage
    corpus: int = 0  # files that the guided part has kept
    accepted: int = 0
    seconds: float = 0.0
    grown_mb: float = 0.0
    slowest_s: float = 0.0
    bad: list[str] = field(default_factory=list)  # one line each
    peak_mb: float = field(default_factory=lambda: _peak_mb())  # of this process, up to the latest input

    def line(self, name: str) -> str:
        return (
            f"{name:11} {self.inputs:9} inputs ({self.guided} guided, corpus {self.corpus}), {self.accepted} accepted, "
            f"{len(self.bad)} bad; slowest {self.slowest_s:.2f} s, grown {self.grown_mb:.0f} MB, {self.seconds:.0f} s"
        )

    def __add__(self, other: Found) -> Found:
        return Found(
            self.inputs + other.inputs,
            self.guided + other.guided,
            max(self.corpus, other.corpus),
            self.accepted + other.accepted,
            self.seconds + other.seconds,
            max(self.grown_mb, other.grown_mb),
            max(self.slowest_s, other.slowest_s),
            [*self.bad, *other.bad],
            max(self.peak_mb, other.peak_mb),
        )


class TooLong(BaseException):
    """No Exception, so that no reader takes it for a fault of the file."""


@contextmanager
def limited() -> Iterator[None]:
    """Raises TooLong in what computes, or waits, for longer than it may."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise TooLong

    limits = ((signal.SIGPROF, signal.ITIMER_PROF, LIMIT_S), (signal.SIGALRM, signal.ITIMER_REAL, WAITING_S))
    before = [signal.signal(number, late) for number, _, _ in limits]
    for _, timer, seconds in limits:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(limits, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def one_input(loader: Loader, content: bytes, folder: Path, found: Found) -> None:
    """Reads it and notes what came of it."""
    start = time.process_time()
    try:
        with limited():
            call(loader, content, folder)
        found.accepted += 1
    except TestbedError as error:
        if "\n" in str(error):
            found.bad.append(f"more than one line: {str(error)[:200]!r} for {content[:2000]!r}")
    except TooLong:
        found.bad.append(f"longer than {LIMIT_S:g} s of processor time, or {WAITING_S:g} s, for {content[:2000]!r}")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        found.bad.append(f"{type(error).__name__}: {str(error)[:200]!r} for {content[:2000]!r}")
    found.inputs += 1
    found.slowest_s = max(found.slowest_s, time.process_time() - start)
    peak = _peak_mb()
    grown, found.peak_mb = peak - found.peak_mb, peak
    found.grown_mb = max(found.grown_mb, grown)
    if grown > LIMIT_MB:
        found.bad.append(f"grew by {grown:.0f} MB for {content[:2000]!r}")


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """A seed after one to six changes."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at, end = sorted(chance.randint(0, len(content)) for _ in range(2))
        match chance.randrange(9):
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
            case 6:
                del content[at:]
                break
            case _ if words := list(WORD.finditer(content)):
                begin, end = chance.choice(words).span()
                content[begin:end] = chance.choice(TOKENS) if chance.randrange(2) else chance.choice(words)[0]
    return bytes(content[:100_000])


def plain(loader: Loader, count: int, seconds: float, seed: int, corpus: Path | None = None) -> Found:
    """Seeded mutations of the loader's seeds and a corpus's files, in this process."""
    grown = sorted(corpus.iterdir()) if corpus is not None and corpus.is_dir() else []
    chance = random.Random(f"{seed}/{loader.name}")
    seeds = [*loader.seeds(), *(path.read_bytes() for path in grown)]
    with _folder() as folder:
        _warm_up(loader, folder)
        found, begun = Found(corpus=len(grown)), time.monotonic()
        while found.inputs < count and time.monotonic() - begun < seconds and len(found.bad) < MOST_BAD:
            one_input(loader, mutated(seeds, chance), folder, found)
    found.seconds = time.monotonic() - begun
    return found


def guided(loader: Loader, count: int, seconds: float, corpus: Path) -> int:
    """By atheris, in a process that is the loader's own: it ends it, as libFuzzer does not come back.

    What reaches new branches is kept in `corpus`. Prints what it found as JSON.
    """
    import atheris

    with atheris.instrument_imports(include=["testbed", "yaml"]):
        for name in INSTRUMENTED:
            import_module(name)
    with _folder() as folder:
        for index, content in enumerate(loader.seeds()):
            (corpus / f"seed{index}").write_bytes(content)
        _warm_up(loader, folder)
        found, begun = Found(), time.monotonic()

        def test(content: bytes) -> None:
            one_input(loader, content, folder, found)
            found.seconds = time.monotonic() - begun
            if found.inputs >= count or found.seconds >= seconds or len(found.bad) >= MOST_BAD:
                found.guided, found.corpus = found.inputs, len(list(corpus.iterdir()))
                print(json.dumps(asdict(found)), flush=True)
                shutil.rmtree(folder, ignore_errors=True)
                close()
                os._exit(0)

        arguments = ["-timeout=60", "-rss_limit_mb=4096", f"-max_len={LONGEST_GUIDED}", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *arguments, str(corpus)], test)
        atheris.Fuzz()
    return 1  # libFuzzer gave up by itself


def _warm_up(loader: Loader, folder: Path) -> None:
    """Loads what has to be loaded once, whatever time that takes."""
    for content in loader.seeds():
        with suppress(TestbedError):
            call(loader, content, folder)


def both(name: str, asked: argparse.Namespace, corpora: Path) -> Found:
    """The guided part and then the plain one, each in its own process."""
    corpus = corpora / name
    corpus.mkdir(parents=True, exist_ok=True)
    found = Found()
    if not asked.plain and _has_atheris():
        found = _elsewhere(name, "guided", asked.count, min(asked.seconds, asked.guided_seconds), asked.seed, corpus)
    left, left_s = asked.count - found.inputs, asked.seconds - found.seconds
    if left > 0 and left_s > 0 and len(found.bad) < MOST_BAD:
        found += _elsewhere(name, "plain", left, left_s, asked.seed, corpus)
    return found


def _elsewhere(name: str, part: str, count: int, seconds: float, seed: int, corpus: Path) -> Found:
    """One part; a process that ended otherwise than it should is something bad."""
    command = [sys.executable, "-m", "testbed.bench.fuzz", "--here", part, "--loader", name, "--corpus", str(corpus)]
    command += ["--count", str(count), "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Found(**json.loads(done.stdout.splitlines()[-1]))
    last = " ".join(done.stderr.split())[-300:]
    return Found(bad=[f"the {part} part ended with status {done.returncode}: {last}"])


def main(arguments: list[str]) -> int:
    """Status 1 where something bad was found."""
    parser = argparse.ArgumentParser(prog="python -m testbed.bench fuzz", description=__doc__)
    parser.add_argument("--loader", action="append", choices=sorted(LOADERS), help="default: every one")
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs a loader")
    parser.add_argument("--seconds", type=float, default=3600.0, help="at most, a loader")
    parser.add_argument("--guided-seconds", type=float, default=60.0, help="of them guided by coverage, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="where the corpora are kept for the next time, a folder a loader")
    parser.add_argument("--plain", action="store_true", help="not guided by coverage")
    parser.add_argument("--here", choices=["guided", "plain"], help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    names = asked.loader or list(LOADERS)
    if asked.here == "guided":
        return guided(LOADERS[names[0]], asked.count, asked.seconds, asked.corpus)
    if asked.here == "plain":
        found = plain(LOADERS[names[0]], asked.count, asked.seconds, asked.seed, asked.corpus)
        print(json.dumps(asdict(found)))
        close()
        return 0
    worst = 0
    with _folder() as folder:
        for name in names:
            found = both(name, asked, asked.corpus or folder)
            print(found.line(name), *found.bad, sep="\n  ", flush=True)
            worst = max(worst, int(bool(found.bad)))
    return worst


@contextmanager
def _folder() -> Iterator[Path]:
    """For the files that are read; in memory, where there is such a place."""
    place = IN_MEMORY if IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="testbed-fuzz-", dir=place) as folder:
        yield Path(folder)


def _has_atheris() -> bool:
    from importlib.util import find_spec

    return find_spec("atheris") is not None


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
