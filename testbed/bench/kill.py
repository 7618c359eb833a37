"""`python -m testbed.bench kill --count 100 --seed S`: small emulated runs, in each of which one process is killed.

What is killed, and when, is drawn from the seed and the trial's number, so `--first` goes on where an earlier call
stopped, and the moment is one in the life of what is killed. A trial is passed when the run ends in time with the right
status and names the one that was killed, when nothing is left after `testbed clean`, and when the next run works:
which it is, if it gets as far as to be killed at a later moment.

`--kind container` and `--kind daemon` are runs with `--nodes docker`: a node's container, and the testbed's own
container engine (`testbed images daemon start`), which is started again after each of its trials.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from testbed.bench.victims import KINDS, OF_CONTAINERS, OF_PROCESSES, Kind, Process, journal_of, marked, victims
from testbed.containers import daemon
from testbed.containers.engine import connect
from testbed.containers.specification import RUN_LABEL
from testbed.errors import BadInput, MachineCannot, RunInvalid
from testbed.files.datafiles import available
from testbed.system.interrupt import interruptible

EXPERIMENT = "quickstart"
SMALL = ("workload.requests=2", "workload.output_tokens=30")
LIFE_S = 400.0  # of a run, on a busy machine
ENDING_S = 60.0  # from the kill to the run's end: 2 s, and as often so many as there are others for each core
CONTAINED_S = 120.0  # the same where containers, each with an interpreter of its own, are ended: 5 s
ORPHANS_S = 5.0  # from the engine's death to that of the last process; goal 1 s, on a machine without other work
LOOK_S = 0.02

POLICIES = ("autoregressive", "speculative", "wanspec")

# Where in a run each kind lives, by what the run says as it goes on, and how far into that stage it is killed at most.
REQUESTS = "requests"  # of the policy
STAGES = {
    "bringing up": 2.5,
    "starting 3 nodes": 4.0,
    REQUESTS: 1.0,
    "measuring the links again": 2.0,
}
OF_NODES = ("starting 3 nodes", REQUESTS)
LIVES: dict[Kind, tuple[str, ...]] = {
    "engine": tuple(STAGES),
    "template": OF_NODES,
    "node": OF_NODES,
    "worker": OF_NODES,
    "fabric": tuple(STAGES),
    "probe": tuple(STAGES),
    "container": ("bringing up", *OF_NODES),
    "daemon": tuple(STAGES),
}
AFTER_NODES, AFTER_ALL = "measuring the links again", "comparing every output"  # then there are none of them any more


@dataclass(frozen=True)
class Plan:
    """One kill: of what, on which fabric, in which policy's run, how long after a stage has begun, which of several."""

    number: int
    kind: Kind
    fabric: str
    policy: str
    stage: str
    after_s: float
    which: float  # 0..1

    @property
    def over(self) -> str:
        """What the run says when there is nothing of this kind any more."""
        return AFTER_ALL if AFTER_NODES in LIVES[self.kind] else AFTER_NODES

    def words(self, stage: str) -> str:
        """What the run says when a stage begins."""
        return f"{self.policy}:" if stage == REQUESTS else stage


@dataclass(frozen=True)
class Trial:
    """One kill, and what came of it; `problems` is empty when all is as it must be."""

    plan: Plan
    killed: str  # the command line's end, or "" when the run no longer had what was to be killed
    status: int | None
    ended_s: float  # from the kill until the run had ended, of a killed engine until its last process had
    said: str  # its complaints, or else the last line
    problems: tuple[str, ...]


def plan(number: int, seed: int, kinds: Sequence[Kind], fabrics: Sequence[str]) -> Plan:
    """Kinds take turns; all else is chance."""
    chance = random.Random(f"{seed}/{number}")
    kind = kinds[number % len(kinds)]
    stage = chance.choice(LIVES[kind])
    fabric, policy = chance.choice(list(fabrics)), chance.choice(POLICIES)
    return Plan(number, kind, fabric, policy, stage, chance.uniform(0, STAGES[stage]), chance.random())


def expected_words(kind: Kind, fabric: str, name: str) -> str:
    """What the run must say of what was killed."""
    return {
        "engine": "",
        "template": "template.log) was killed (signal 9)",
        "node": f"node {name} was killed (signal 9)",
        "worker": f"node {name}: its model worker was killed (signal 9)",
        "fabric": f"fabric {fabric}: its {'guest kernel' if fabric == 'lab' else 'process'} was killed (signal 9)",
        "probe": "process was killed (signal 9)",
        "container": f"node {name}: its container was killed (signal 9)",
        "daemon": "containers: the Docker daemon no longer answers",
    }[kind]


def expected_status(kind: Kind) -> int:
    """A part of the run that dies makes it invalid; the container engine is the machine's."""
    if kind == "engine":
        return -signal.SIGKILL
    return MachineCannot.exit_code if kind == "daemon" else RunInvalid.exit_code


def limit_of(kind: Kind) -> float:
    """Seconds from the kill to the end of what must end."""
    if kind == "engine":
        return ORPHANS_S
    return CONTAINED_S if kind in OF_CONTAINERS else ENDING_S


def judge(kind: Kind, words: str, status: int | None, ended_s: float, said: str) -> list[str]:
    """What is wrong with how a run ended."""
    problems = []
    wanted = expected_status(kind)
    limit_s = limit_of(kind)
    if status != wanted:
        problems.append(f"status {status}, not {wanted}")
    if ended_s > limit_s:
        problems.append(f"ended after {ended_s:.1f} s, allowed {limit_s:.0f} s")
    if "Traceback" in said:
        problems.append("a traceback")
    complaints = complaints_of(said)
    if kind != "engine" and not (len(complaints) == 1 and words in complaints[0]):
        problems.append(f"did not say {words!r} alone")
    return problems


def came_too_late(one: Plan, said: str) -> bool:
    """Whether a template was killed when its programs had done all their work: they end with it, so without them no run
    goes on to what comes after the nodes. On a busy machine that is so seconds after the last request."""
    return one.kind == "template" and one.over in said and not complaints_of(said)


def complaints_of(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("testbed: ")]


class Run:
    """One `testbed run` under way, in its own folder."""

    def __init__(self, folder: Path, experiment: Path, one: Plan) -> None:
        self._stderr = folder / "stderr"
        self.out = folder / "runs"
        what = [str(experiment), *SMALL, f"policies=[{one.policy}]", "--fabric", one.fabric]
        what += ["--nodes", "docker"] if one.kind in OF_CONTAINERS else []
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "testbed", "run", *what, "--out", str(self.out)],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self._deadline = time.monotonic() + LIFE_S

    @property
    def said(self) -> str:
        return self._stderr.read_text(errors="replace")

    def goes_on(self, until: Callable[[], object]) -> bool:
        """Waits for a condition; False when the run ended, or lasted too long, before it was met."""
        while not until():
            if self.process.poll() is not None or time.monotonic() > self._deadline:
                return False
            time.sleep(LOOK_S)
        return True


def trial(one: Plan, experiment: Path) -> Trial:
    """Carries out one kill."""
    with tempfile.TemporaryDirectory(prefix="testbed-kill-") as folder:
        run = Run(Path(folder), experiment, one)
        try:
            return _killed(one, run)
        finally:
            run.process.kill()
            run.process.wait()


def _killed(one: Plan, run: Run) -> Trial:
    engine = run.process.pid
    found: list[Process] = []

    def there() -> list[Process]:
        found[:] = victims(one.kind, engine)
        return found

    following = dict(pairwise([*map(one.words, STAGES), AFTER_ALL]))[one.words(one.stage)]
    if run.goes_on(lambda: one.words(one.stage) in run.said):
        at = time.monotonic() + one.after_s
        run.goes_on(lambda: time.monotonic() > at or following in run.said)
    if not run.goes_on(lambda: there() or one.over in run.said) or not found:
        run.process.terminate()  # it is not needed any more
        over = run.process.wait()
        return Trial(one, "", over, 0.0, _last(run.said), () if over in (0, 3, 130) else (f"status {over}",))
    victim = found[int(one.which * len(found))]
    journal = journal_of(engine)
    os.kill(victim.pid, signal.SIGKILL)
    killed_at = time.monotonic()
    status = _status_within(run.process, ENDING_S + limit_of(one.kind))
    while journal is not None and marked(journal) and time.monotonic() < killed_at + ENDING_S + limit_of(one.kind):
        time.sleep(LOOK_S)
    ended_s = time.monotonic() - killed_at
    said = run.said
    if came_too_late(one, said):
        run.process.terminate()
        run.process.wait()
        return Trial(one, "", status, 0.0, _last(said), tuple(_left(one, run, journal)))
    words = expected_words(one.kind, one.fabric, victim.name)
    problems = judge(one.kind, words, status, ended_s, said) + _left(one, run, journal)
    complaints = " | ".join(complaints_of(said)) or _last(said)
    return Trial(one, victim.command[-100:], status, round(ended_s, 2), complaints, tuple(problems))


def _status_within(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None


def _left(one: Plan, run: Run, journal: Path | None) -> list[str]:
    """What is still there once `testbed clean` has been called; a container engine that was killed is started first."""
    if one.kind == "daemon":
        daemon.start()
    done = subprocess.run([sys.executable, "-m", "testbed", "clean"], capture_output=True, text=True)
    problems = [] if done.returncode == 0 else [f"clean: status {done.returncode}: {_last(done.stderr)}"]
    if journal is not None:
        if pids := marked(journal):
            problems.append(f"processes {pids} are left")
        if journal.exists():
            problems.append(f"{journal} is left")
        if one.kind in OF_CONTAINERS:
            problems += [f"container {name} is left" for name in _containers(journal.parent.name)]
    if run.process.returncode == -signal.SIGKILL and run.out.exists():
        problems += [f"{path.name} is left" for path in run.out.iterdir()]
    return problems


def _containers(attempt: str) -> list[str]:
    """Those that carry the label of an attempt."""
    client = connect()
    try:
        shown = client.api.containers(all=True, filters={"label": f"{RUN_LABEL}={attempt}"})
    finally:
        client.close()
    return [name for one in shown for name in one["Names"]]


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.bench kill", description="kill -9 at random moments")
    parser.add_argument("--count", type=int, default=100, help="trials")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fabric", action="append", choices=["relay", "lab", "netem"], help="default: relay")
    parser.add_argument("--kind", action="append", choices=KINDS, help=f"default: {', '.join(OF_PROCESSES)} in turn")
    parser.add_argument("--out", type=Path, help="a file that gets one JSON line a trial, behind what is in it")
    asked = parser.parse_args(arguments)
    if asked.count < 1:
        raise BadInput(f"bench kill: --count {asked.count}: at least 1")
    experiment = available("experiments", ".yaml").get(EXPERIMENT)
    if experiment is None:
        raise BadInput(f"bench kill: no experiment {EXPERIMENT!r}; run it in the project's folder")
    kinds = asked.kind or OF_PROCESSES
    if "daemon" in kinds and daemon.running() is None:
        raise MachineCannot("bench kill: only a container engine of the testbed's own is killed, and none runs; "
                            "testbed images daemon start")  # fmt: skip
    trials = []
    for number in range(asked.first, asked.first + asked.count):
        with interruptible():  # so that a trial that is cut short takes its run along
            one = trial(plan(number, asked.seed, kinds, asked.fabric or ["relay"]), experiment.resolve())
        trials.append(one)
        print(sentence(one), flush=True)
        if asked.out is not None:
            with asked.out.open("a") as out:
                out.write(json.dumps(asdict(one)) + "\n")
    print(table(trials))
    return RunInvalid.exit_code if any(one.problems for one in trials) else 0


def sentence(one: Trial) -> str:
    p = one.plan
    what = f"{p.number}: {p.kind} on {p.fabric}, {p.policy}, {p.after_s:.2f} s into {p.stage!r}"
    verdict = "; ".join(one.problems) or ("as it must be" if one.killed else "the run was over before")
    return f"{what}: status {one.status} after {one.ended_s:.2f} s, {one.said!r}: {verdict}"


def table(trials: Sequence[Trial]) -> str:
    """How many of each kind were killed, how many of those ended as they must, and how soon."""
    killed = [one for one in trials if one.killed]
    kinds = [*dict.fromkeys(one.plan.kind for one in killed), "all"]
    lines = [f"{'':9} killed  as they must  ended after s: median, largest"]
    for kind in kinds if killed else ():
        of_kind = [one for one in killed if kind in (one.plan.kind, "all")]
        took = [one.ended_s for one in of_kind]
        good = sum(not one.problems for one in of_kind)
        lines.append(f"{kind:9} {len(of_kind):6} {good:13} {statistics.median(took):14.2f} {max(took):8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
