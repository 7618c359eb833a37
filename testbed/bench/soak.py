"""`python -m testbed.bench soak --minutes 120`: does a run under steady load grow?

One emulated run on the relay fabric, several policies in turn, again and again, on emulated devices so slow that the
load takes a small share of a core. Every process of it is sampled while there is load; a line each says how its memory
and descriptors moved after its warm-up, which is the first turn of each policy, and how CPU time per request did.
`soak.json` and `soak.png` in FOLDER hold the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from testbed.bench.flatness import ALLOWED, Verdict, judge
from testbed.bench.processes import Held, descendants, held, name_of
from testbed.errors import BadInput, RunInvalid
from testbed.results.store import load
from testbed.system.units import NS_PER_S

POLICIES = ("wanspec", "sled", "{wisp: {basis: whole}}", "speculative")
RATE_PER_S = 0.6  # requests; one of OUTPUT_TOKENS takes about a second, so users overlap now and then
OUTPUT_TOKENS = 16
TARGET_MS, DRAFT_MS = 60, 25
SAMPLE_S = 10.0
NODES = ("user", "target", "drafter")  # their names, with a number
TURNS = 10  # of each policy, the first of which is not looked at


@dataclass(frozen=True)
class Soak:
    """What was asked for."""

    minutes: float
    out: Path
    sample_s: float = SAMPLE_S
    policies: Sequence[str] = POLICIES
    rate_per_s: float = RATE_PER_S
    output_tokens: int = OUTPUT_TOKENS
    turns: int = TURNS

    @property
    def warm_up_s(self) -> float:
        return self.minutes * 60 / self.turns


@dataclass
class Watched:
    """Every process that was seen, by pid, from the first sample of it on."""

    names: dict[int, str] = field(default_factory=dict)
    loaded_s: tuple[float, float] = (0.0, 0.0)  # the first and the last moment with a node
    samples: dict[int, list[Held]] = field(default_factory=dict)

    def sample(self, root: int) -> None:
        now = time.monotonic()
        for pid in descendants(root):
            one = held(pid, now)
            name = self.names.get(pid) or name_of(pid)
            if one is not None and name is not None:
                self.names[pid] = name
                self.samples.setdefault(pid, []).append(one)
                if name.startswith(NODES):
                    self.loaded_s = self.loaded_s[0] or now, now

    def under_load(self, pid: int) -> list[Held]:
        since, until = self.loaded_s
        return [one for one in self.samples[pid] if since <= one.at_s <= until]


def profile(name: str, pass_ms: float) -> str:
    """A device that takes as long whatever it is fed."""
    knots = f"[[1, {pass_ms}], [2048, {pass_ms}]]"
    return f"device: {name}\nmodel: any\nkind: synthetic\nsource: made for the soak\npass_ms: {knots}\n" + (
        "max_pass_tokens: 2048\n"
    )


def experiment(soak: Soak, folder: Path) -> str:
    """The text of an experiment file; the devices it names lie in `folder`."""
    requests = max(1, round(soak.minutes * 60 * soak.rate_per_s / len(soak.policies) / soak.turns))
    steady = f"rate_per_s: {soak.rate_per_s}, surges: [{{start_s: 0, length_s: 1, rate_per_s: {soak.rate_per_s}}}]"
    return f"""name: soak
topology: aws-north-america
workload:
  prompts: prose
  requests: {requests}
  output_tokens: {soak.output_tokens}
  arrivals: {{burst: {{{steady}}}}}
models: {{target: tiny-target, draft: tiny-draft}}
devices: {{target: {folder / "target.yaml"}, drafter: {folder / "drafter.yaml"}}}
place: {{user: {{us-east-2: 2}}, target: us-east-1, drafter: us-east-2}}
policies: [{", ".join(soak.policies)}]
repeats: {soak.turns}
seed: 11
"""


def run(soak: Soak, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Runs it, samples it, judges it. Raises RunInvalid when the run itself could not go on.

    One that is not valid is looked at: passes that came late on a busy machine say nothing about memory.
    """
    soak.out.mkdir(parents=True, exist_ok=True)
    for name, pass_ms in (("target", TARGET_MS), ("drafter", DRAFT_MS)):
        (soak.out / f"{name}.yaml").write_text(profile(name, pass_ms))
    file = soak.out / "soak.yaml"
    file.write_text(experiment(soak, soak.out.absolute()))
    watched, began = Watched(), time.monotonic()
    with (soak.out / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "testbed", "run", str(file), "--fabric", "relay", "--out", str(soak.out / "runs")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                watched.sample(process.pid)
                _save(soak, watched, began)
                try:
                    process.wait(soak.sample_s)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode not in (0, RunInvalid.exit_code):
        raise RunInvalid(f"soak: the run ended with status {process.returncode}; see {soak.out / 'run.log'}")
    verdicts, per_request = verdicts_of(soak, watched), cpu_per_request(soak, watched)
    for line in table(verdicts, per_request):
        say(line)
    return report(soak, watched, began, verdicts, per_request)


def report(
    soak: Soak,
    watched: Watched,
    began: float,
    verdicts: Sequence[Verdict],
    per_request: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """Everything as JSON, written as `soak.json`, and the figure."""
    found = {
        "minutes": soak.minutes,
        "ran_minutes": round((time.monotonic() - began) / 60, 2),
        "allowed": ALLOWED,
        "warm_up_s": soak.warm_up_s,
        "flat": all_flat(verdicts),
        "processes": [{**asdict(one), "flat": one.flat} for one in verdicts],
        "cpu_ms_per_request": per_request,
        "samples": {
            f"{watched.names[pid]} ({pid})": [asdict(one) for one in samples]
            for pid, samples in watched.samples.items()
        },
    }
    (soak.out / "soak.json").write_text(json.dumps(found, indent=1))
    draw(found, soak.out / "soak.png")
    return found


def verdicts_of(soak: Soak, watched: Watched) -> list[Verdict]:
    judged = (judge(name, pid, watched.under_load(pid), soak.warm_up_s) for pid, name in watched.names.items())
    return sorted((one for one in judged if one is not None), key=lambda one: (one.name, one.pid))


def cpu_per_request(soak: Soak, watched: Watched) -> dict[str, list[float]]:
    """By policy, for each of its turns: CPU milliseconds of all processes for each request that ended in it."""
    finished = list((soak.out / "runs").glob("*/manifest.json"))
    if not finished:
        return {}
    requests = load(max(finished).parent).requests
    found: dict[str, list[float]] = {}
    for (policy, _), rows in requests.groupby(["policy", "repeat"], sort=True):
        since, until = rows["sent_ns"].min() / NS_PER_S, rows["finished_ns"].max() / NS_PER_S
        found.setdefault(str(policy), []).append(round(1e3 * _cpu_s(watched, since, until) / len(rows), 1))
    return found


def _cpu_s(watched: Watched, since: float, until: float) -> float:
    """Of all processes in this time, between the samples that are nearest inside."""
    total = 0.0
    for samples in watched.samples.values():
        inside = [one for one in samples if since <= one.at_s <= until]
        if len(inside) >= 2:
            seen = inside[-1].at_s - inside[0].at_s
            total += (inside[-1].cpu_s - inside[0].cpu_s) * (until - since) / seen
    return total


def all_flat(verdicts: Sequence[Verdict]) -> bool:
    """Where nothing lived long enough to be judged, nothing has been shown."""
    return bool(verdicts) and all(one.flat for one in verdicts)


def table(verdicts: Sequence[Verdict], per_request: Mapping[str, Sequence[float]]) -> list[str]:
    titles = f"{'heap MB':>8} {'rise':>7} {'off':>7} {'RSS MB':>8} {'rise':>7} {'most fd':>9} {'CPU':>5}"
    lines = [f"{'process':20} {'min':>6} {titles}"]
    for one in verdicts:
        heap, rss, (early, late) = one.anonymous_kb, one.rss_kb, one.most_descriptors
        lines.append(
            f"{one.name[:20]:20} {one.seconds / 60:6.1f} {heap.median / 1024:8.2f} {heap.share:+7.2%} "
            f"{heap.off_share:7.2%} {rss.median / 1024:8.1f} {rss.share:+7.2%} {early:4d} {late:4d} "
            f"{one.cpu_share:5.1%} {'flat' if one.flat else 'NOT FLAT'}"
        )
    for policy, turns in per_request.items():
        lines.append(f"CPU ms per request, turns of {policy}: {', '.join(map(str, turns))}")
    lines.append(f"within {ALLOWED:.0%}: {'yes' if all_flat(verdicts) else 'NO'}")
    return lines


def _save(soak: Soak, watched: Watched, began: float) -> None:
    """What is known so far: a soak that is cut off has shown something."""
    minutes = (time.monotonic() - began) / 60
    lines = [f"after {minutes:.1f} min", *table(verdicts_of(soak, watched), {})]
    (soak.out / "so-far.txt").write_text("\n".join(lines) + "\n")


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Anonymous memory over time, each process by its own median."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    judged = {f"{one['name']} ({one['pid']})": one["anonymous_kb"]["median"] for one in found["processes"]}
    for name, samples in found["samples"].items():
        if name in judged:
            first = samples[0]["at_s"]
            axes.plot(
                [(one["at_s"] - first) / 60 for one in samples],
                [100 * one["anonymous_kb"] / judged[name] for one in samples],
                label=name.rpartition(" ")[0],
                linewidth=1,
            )
    axes.axhspan(100 * (1 - ALLOWED), 100 * (1 + ALLOWED), alpha=0.1, color="grey")
    axes.set(xlabel="minutes since the process began", ylabel="heap and stacks, % of its median", ylim=(90, 110))
    axes.legend(fontsize=7, ncol=2)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: list[str]) -> int:
    """Exit status 3 when something grew."""
    parser = argparse.ArgumentParser(prog="python -m testbed.bench soak", description="does a run under load grow?")
    parser.add_argument("--minutes", type=float, default=120.0, help="of load")
    parser.add_argument("--out", type=Path, default=Path("soak"), help="folder for soak.json, soak.png and the run")
    asked = parser.parse_args(arguments)
    if not 0.5 <= asked.minutes <= 10_000:
        raise BadInput(f"bench soak: --minutes {asked.minutes}: from 0.5 to 10000")
    found = run(Soak(asked.minutes, asked.out))
    return 0 if found["flat"] else RunInvalid.exit_code
