"""The loaders of files that people bring, each as a function of one file's bytes, with seeds from shipped files.

Rule kept: a loader goes as far as a command would before it runs anything: what it makes is looked at, too. None of
them runs code of the file, so Topo files are not among them (their options are: tests/fuzz).
"""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.files.datafiles import folders

if TYPE_CHECKING:
    import pandas as pd

    from testbed.experiment.resolve import Sources
    from testbed.network.imports.found import Options
    from testbed.network.imports.written import About

SMALL = """\
name: edge
topology: two-sites
workload: {prompts: prose, requests: 2, output_tokens: 8, slo_tokens_per_s: [2, 4],
  arrivals: {burst: {rate_per_s: 1, surges: [{start_s: 1, length_s: 1, rate_per_s: 9}]}}}
models: {target: tiny-target, draft: tiny-draft}
devices: {target: l40s/llama-3.1-8b, drafter: l40s/llama-3.2-1b}
place: {user: {near: 2}, target: near, drafter: [far, near]}
network: {rtt_ms: {near: {far: 20}}, loss: 0.01, rate_mbit: 5, burst_loss: null}
policies: [autoregressive, speculative: {k: 2}, wanspec: {k: 2, phi: .5, label: w}, sled: {}, wisp: {}]
compute: {target: {cpus: 0-1, memory: 2GiB}}
events: [{at_s: 1, link: [near, far], up: false}, {at_s: 2, heal: true}]
matrix: {seed: [1, 2], policies.w.phi: {from: 0, to: 1, count: 3}}
"""
OVERRIDES = (
    "workload.requests=10", "policies.wanspec.phi=0.5", "network.loss=50%", "place.drafter={far: 2}",
    "workload.arrivals={poisson: {rate_per_s: 0.5}}", "policies.1={speculative: {k: 1}}", "events=[{at_s: 1}]",
)  # fmt: skip


TRACES = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.03,3180,8\n",
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,a,43,GPT-4,906,446,1352,Conversation log\n45,,2,ChatGPT,36,29,65,API log\n",
    '{"timestamp": 0, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]}\n'
    '{"timestamp": 3000, "input_length": 1500, "output_length": 6, "hash_ids": [0, 2]}\n',
    "0,1.5,2.0,Gamma,0.3,0.4\n600,0,0,,0,0\n1200,0.5,0.9,Weibull,0.4,3.3\n",
)
SERVEGEN = """\
0,1.5,2.0,Gamma,0.3,0.4
600,0,0,,0,0
1200,0.5,0.9,Weibull,0.4,3.3
{"0": {"input_tokens": "{100: 0.5, 900: 0.5}", "output_tokens": {"7": 0.9, "80": 0.1}},
"1200": {"text_tokens": "{12: 1.0}", "output_tokens": "{5: 1}"}}
"""
TENANTS = """\
name: shared
topology: two-sites
workload: {prompts: prose, load: azure-2023-conv, window: [0, 4], rate_scale: 1, time_scale: 2, token_scale: .5,
  local_time: {near: 1}, slo_tokens_per_s: 4}
models: {target: tiny-target, draft: tiny-draft}
devices: {target: l40s/llama-3.1-8b, drafter: l40s/llama-3.2-1b}
place: {user: {near: 2}, target: [near, far], drafter: far}
outcomes: {iid: {match: .7}}
policies: [autoregressive, wanspec: {k: 2, routing: {rule: jsq, sticky: true}}]
background:
  near: [{load: azure-2023-code, rate_scale: 2, from_s: 60}, {rate_per_s: 2, input_tokens: 9,
    surges: [{start_s: 1, length_s: 2, rate_per_s: 9}], max_batch: 4, kv_share: .2}]
  far: {role: drafter, by_hour: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 0],
    local_time: -5, output_tokens: 20}
prices: {source: made up, kwh: .3, device_h: {target: 2, drafter: {far: .5}}, wan_gb: 1}
"""
PLACES = ("id,title,country,latitude,longitude\n5,Paris,France,48.8,2.3\n9,Oslo,Norway,59.9,10.7\n",
          "region;name\na;b\n")  # fmt: skip
COLLECTIONS = (
    '[{"id": "a", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}]}]',
    '{"question_id": 81, "category": "writing", "turns": ["Write", "Again"]}\n',
    '{"task_id": "HumanEval/0", "prompt": "def f():", "entry_point": "f"}\n{"question": "1 + 1?", "answer": "2"}\n',
    '[{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'
    ', "source": "x"}, {"instruction": "Sum up", "input": "a text", "output": "b"}]',
)


@dataclass(frozen=True)
class Loader:
    """`read` gets a path; `suffix` is that of the files; `seeds` are contents to begin with."""

    name: str
    suffix: str
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]


def _experiment(path: Path) -> object:
    from testbed.experiment.document import read_document

    document = read_document(path)
    document.data.pop("matrix", None)
    return document.scenario().resolved()


def _sweep(path: Path) -> object:
    from testbed.files.yamlfile import load_yaml
    from testbed.sweeps.matrix import KEY, count, parse_axes
    from testbed.sweeps.plan import load_sweep

    data, lines = load_yaml(path)
    if isinstance(data, dict) and KEY in data and count(parse_axes(data[KEY], path, lines)) > 50:
        return None  # right, and as slow as it is large
    return load_sweep(path)


def _override(path: Path) -> object:
    from testbed.experiment.document import read_document

    text = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
    document = read_document(_small(path.parent), [text])
    document.data.pop("matrix", None)
    return document.scenario()


IMPORTS = (
    "src;dst;rtt (ms)\na;b;12,5\nb;a;13\n",
    "x,a,b\na,,12.5\nb,13,\n",
    "|Source|West Europe|UK South|\n|---|---|---|\n|West Europe||9|\n|UK South|10||\n",
    '{"data": {"a": {"b": 12.5}, "b": {"a": "13 ms"}}}',
    '[{"region": "a", "averages": [{"regionTo": "b", "average": 12.5}]}]',
    '[{"type": "ping", "prb_id": 7, "dst_name": "t", "timestamp": 1, "result": [{"rtt": 12.0}, {"x": "*"}]}]',
    "PING h (192.0.2.1) 56(84) bytes of data.\n64 bytes from h: icmp_seq=1 ttl=9 time=12 ms\n\n--- h ---\n"
    "2 packets transmitted, 1 received, 50% packet loss\nrtt min/avg/max/mdev = 1/2/3/1 ms\n",
    "Pinging h [192.0.2.1] with 32 bytes of data:\nReply from 192.0.2.1: bytes=32 time<1ms TTL=9\nRequest timed out.\n",
    '{"round_trips": [{"seqno": 0, "lost": "false", "delay": {"rtt": 5}}]}',
    '{"eth0": {"outgoing": {"dst-network=192.0.2.1/32": {"delay": "10.0ms", "loss": "1%", "rate": "1Mbps"}}}}',
    "Paris <-> Rome: 21.5 ms\nParis - Oslo: 30 ms\n",
    "1\n1\n5\n1000\n",
)
TRIPS = (
    '[{"type": "ping", "prb_id": 7, "dst_name": "t", "timestamp": 10, "result": [{"rtt": 12.0}, {"x": "*"}]},\n'
    '{"type": "ping", "prb_id": 7, "dst_name": "t", "timestamp": 250, "result": [{"rtt": 13.5}, {"rtt": 12}]}]',
    "PING h (192.0.2.1) 56(84) bytes of data.\n64 bytes from h: icmp_seq=1 ttl=9 time=12 ms\n"
    "64 bytes from h: icmp_seq=3 ttl=9 time=13.1 ms\n\n--- h ---\n3 packets transmitted, 2 received, 33% packet loss\n",
    "PING h (192.0.2.1) 56(84) bytes of data.\n[1700000000.25] 64 bytes from 192.0.2.1: icmp_seq=1 ttl=9 time=12 ms\n"
    "[1700000001.25] 64 bytes from 192.0.2.1: icmp_seq=2 ttl=9 time=14 ms\n",
    "Pinging h [192.0.2.1] with 32 bytes of data:\nReply from 192.0.2.1: bytes=32 time=2ms TTL=9\nRequest timed out.\n"
    "Reply from 192.0.2.1: bytes=32 time=3ms TTL=9\n",
    '{"round_trips": [{"seqno": 0, "lost": "false", "delay": {"rtt": 5000000}, "timestamps": {"client": {"send": {'
    '"wall": 1700000000000000000}}}}, {"seqno": 1, "lost": "true"}, {"seqno": 2, "lost": "false", "delay": {"rtt": '
    '6000000}, "timestamps": {"client": {"send": {"wall": 1700000002000000000}}}}]}',
    '{"eth0": {"outgoing": {"dst-network=192.0.2.1/32": {"delay": "10.0ms", "loss": "1%", "rate": "1Mbps"}}}}',
    "1\n1\n5\n1000\n2500\n",
)


def _small(folder: Path) -> Path:
    path = folder / "small.yaml"
    if not path.exists():
        path.write_text(SMALL, encoding="utf-8")
    return path


def _topology(path: Path) -> object:
    from testbed.network.spec.topology import load_topology

    topology = load_topology(path)
    names = topology.region_names[:5]
    return topology.with_rtt_ms(5.0).model_dump_json(), [topology.rtt_ms(a, b) for a in names for b in names]


def _topologies() -> list[bytes]:
    """Those that can be read anywhere come first: the others name a CSV beside them."""
    return sorted(_shipped("topologies", "*.yaml")(), key=lambda content: b"rtt_csv" in content)


def _matrix(path: Path) -> object:
    from testbed.network.spec.matrixfile import matrix_text, read_matrix

    return matrix_text(read_matrix(path))


def _import(path: Path) -> object:
    from testbed.files.reading import read_others_text
    from testbed.network.imports.formats import OF_TOPOLOGIES, format_of
    from testbed.network.imports.written import require_readable, topology_files

    text, _ = read_others_text(path)
    found, _ = format_of(text, path, OF_TOPOLOGIES, None)
    assert found.figures is not None
    files = topology_files(found.figures(text, path, _asked()), _about())
    require_readable(files)
    return files


def _import_trace(path: Path) -> object:
    from testbed.files.reading import read_others_text
    from testbed.network.imports.formats import OF_TRACES, format_of
    from testbed.network.imports.mahimahi import chances, rates
    from testbed.network.imports.written import events_text, require_readable, topology_files, trace_text

    text, _ = read_others_text(path)
    found, _ = format_of(text, path, OF_TRACES, None)
    if found.trips is not None:
        files = {"made.csv": trace_text(found.trips(text, path, _asked())[0], _about(), str(path))[0]}
    elif found.figures is not None:
        files = topology_files(found.figures(text, path, _asked()), _about())
    else:
        when = chances(text, path)
        return events_text(rates(when, 1.0), _about(), "here", "there", when[-1] / 1000)
    require_readable(files)
    return files


def _asked() -> Options:
    from testbed.network.imports.found import Options

    return Options(src="here", interval_s=1.0)


def _about() -> About:
    from testbed.network.imports.written import About

    return About("made", "made of what was found", "own measurement", "not stated", date(2026, 1, 2))


def _places(path: Path) -> object:
    from testbed.cli.importoptions import places_of

    return places_of(path)


def _profile(path: Path) -> object:
    from testbed.models.devices import load_profile

    profile = load_profile(str(path))
    return profile.native or (profile.duration_ms(1), profile.duration_ms(profile.max_pass_tokens, 100))


def _series(path: Path) -> object:
    from testbed.network.spec.series import SeriesReplay, load_series
    from testbed.network.spec.series_summary import pair_rows, summary
    from testbed.network.spec.topology import load_topology

    series = load_series(str(path))
    replay, topology = SeriesReplay(series, 0.001), load_topology("two-sites")
    a, b = topology.region_names[:2]
    return summary(series), pair_rows(series), replay.delay(topology, a, b)


def _load(path: Path) -> object:
    from testbed.workload.load.describe import figures_of, lengths, rates
    from testbed.workload.load.source import load_load

    found = load_load(str(path))
    some = sum(one.input_tokens for _, one in zip(range(100), found.requests(1, 0.0, found.seconds), strict=False))
    return some, found.as_manifest(), figures_of(found), lengths(found, (1, 50, 99)), rates(found, 9)


def _servegen(path: Path) -> object:
    """A client's rates, and from the first brace on its lengths."""
    folder = path.parent / "chunks"
    folder.mkdir(exist_ok=True)
    trace, brace, lengths = path.read_bytes().partition(b"{")
    (folder / "chunk-0-trace.csv").write_bytes(trace)
    (folder / "chunk-0-dataset.json").write_bytes(brace + lengths)
    return _load(folder)


def _fit(path: Path) -> object:
    from testbed.workload.load.fit import distance, fitted
    from testbed.workload.load.profile import read_profile
    from testbed.workload.load.text import profile_text

    made = fitted(path, "own measurement", "not stated")
    written = path.with_name("fitted.yaml")
    written.write_text(profile_text(made), encoding="utf-8")
    return distance(made), read_profile(written)


def _tenants(path: Path) -> object:
    """An experiment that reads no model and no prompt, put together, and what others ask of its devices."""
    from testbed.experiment.document import read_document
    from testbed.experiment.resolve import resolve
    from testbed.simulation.inputs import by_id

    document = read_document(path)
    document.data.pop("matrix", None)
    scenario = document.scenario()
    if scenario.workload.requests > 1000 or len(scenario.place.nodes()) > 50:
        return None  # right, and as slow as it is large
    prompts = by_id("made-up", [str(number) for number in range(scenario.workload.requests)], "")
    found = resolve(scenario, _sources(), prompts=prompts)
    return [list(islice(one.requests(), 5)) for one in found.background(0).values()]


@cache
def _sources() -> Sources:
    from testbed.sweeps.sources import CachedSources

    return CachedSources()


def _prompts(path: Path) -> object:
    from testbed.workload.prompts import load_prompts

    return load_prompts(str(path))


def _table(path: Path) -> object:
    from testbed.tables.table import load_provenance, load_table

    load_provenance(str(path))
    return load_table(str(path))


def _controller(path: Path) -> object:
    from testbed.policies.wisp.classifier import Classifier, read_weights
    from testbed.policies.wisp.features import Features

    return Classifier(read_weights(str(path))[0]).probability(Features(0.9, 0.1, 0.9, 5.0, 1))


TOKENIZER, SMALL_VOCABULARY = "tokenizer.json", 300
MODEL_TEXTS = ("config.json", "generation_config.json", TOKENIZER, "tokenizer_config.json")


def _model(path: Path) -> object:
    """The texts of a model's folder; the first byte says which of them the rest is. Its weights are not read."""
    from testbed.models.load import load_config, load_generation_config, load_tokenizer

    folder = path.parent / "model"
    if not folder.exists():
        folder.mkdir()
        for name in MODEL_TEXTS:
            shutil.copyfile(_a_model() / name, folder / name)
    content = path.read_bytes()
    name = MODEL_TEXTS[(content[0] if content else 0) % len(MODEL_TEXTS)]
    try:
        (folder / name).write_bytes(content[1:])
        if "tokenizer" in name:
            return load_tokenizer(str(folder)).encode("A text of six words, éè.")
        return str(load_config(str(folder))), str(load_generation_config(str(folder)))
    finally:
        shutil.copyfile(_a_model() / name, folder / name)


@cache
def _a_model() -> Path:
    """Texts of the shipped draft, with a vocabulary so small that mutations meet the rest of its file, too."""
    import json
    import tempfile

    folder, shipped = (
        Path(tempfile.mkdtemp(prefix="testbed-fuzz-model-")),
        Path(__file__).parents[1] / "models/pairs/tiny",
    )
    atexit.register(close)
    for name in MODEL_TEXTS:
        shutil.copyfile(shipped / "draft" / name, folder / name)
    found = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    model = found["model"]
    model["vocab"] = {token: index for token, index in model["vocab"].items() if index < SMALL_VOCABULARY}
    whole = [merge for merge in model["merges"] if "".join(merge) in model["vocab"]]
    model["merges"] = [merge for merge in whole if all(part in model["vocab"] for part in merge)]
    (folder / TOKENIZER).write_text(json.dumps(found), encoding="utf-8")
    return folder


def _model_seeds() -> list[bytes]:
    return [bytes([index]) + (_a_model() / name).read_bytes() for index, name in enumerate(MODEL_TEXTS)]


def _claims(path: Path) -> object:
    from testbed.reproduce.claims import read_claims

    return read_claims(path)


def _journal(path: Path) -> object:
    from testbed.sweeps.journal import opened

    folder = path.parent / "sweep"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(path, folder / "points.jsonl")
    with opened(folder) as journal:
        return journal.read()


def _run(path: Path) -> object:
    """The first byte says which file of a run the rest is."""
    from testbed.results.markdown import policy_table, title
    from testbed.results.metrics import policy_logs
    from testbed.results.store import FILES, RunDirectory, load, using

    content = path.read_bytes()
    run = path.parent / "run"
    if not run.exists():
        shutil.copytree(_a_run(), run)
    name = FILES[(content[0] if content else 0) % len(FILES)]
    try:
        (run / name).write_bytes(content[1:])
        with using(run), unchanged_read_once(run, name):
            data = load(run)
            RunDirectory(run).read_summary()
            return policy_logs(data), title(run), policy_table(run)
    finally:
        shutil.copyfile(_a_run() / name, run / name)


@contextmanager
def unchanged_read_once(run: Path, changed: str) -> Iterator[None]:
    """Tables of a run's other files come from memory: reading those again would be nine tenths of the work."""
    from testbed.results.store import RunDirectory

    read_rows = RunDirectory.read_rows

    def remembered(directory: RunDirectory, kind: str) -> pd.DataFrame:
        if directory.path != run or changed == f"{kind}.parquet":
            return read_rows(directory, kind)
        return _rows(kind).copy()

    RunDirectory.read_rows = remembered  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        RunDirectory.read_rows = read_rows  # type: ignore[method-assign]


@cache
def _rows(kind: str) -> pd.DataFrame:
    from testbed.results.store import RunDirectory

    return RunDirectory(_a_run()).read_rows(kind)


@cache
def _a_run() -> Path:
    """A small simulated run without its sums, so that what is read is looked at and not only summed."""
    import tempfile

    from testbed.experiment.document import load_scenario
    from testbed.experiment.progress import Silent
    from testbed.results.store import SUMS
    from testbed.simulation import engine

    folder = Path(tempfile.mkdtemp(prefix="testbed-fuzz-run-"))
    atexit.register(close)
    text = SMALL.split("compute:")[0].replace(", sled: {}, wisp: {}", "")
    (folder / "e.yaml").write_text(text, encoding="utf-8")
    outcome = engine.run(load_scenario(folder / "e.yaml"), engine.Options(out=folder / "out"), Silent())
    (outcome.directory / SUMS).unlink()
    (outcome.directory / "report.html").unlink(missing_ok=True)
    return outcome.directory


def _run_seeds() -> list[bytes]:
    from testbed.results.store import FILES

    return [bytes([index]) + (_a_run() / name).read_bytes() for index, name in enumerate(FILES)]


def _shipped(kind: str, pattern: str, most: int = 20_000) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        found = sorted(path for folder in folders(kind) for path in folder.glob(pattern))
        return [_lines(path.read_bytes(), most) for path in dict.fromkeys(found)][:20]

    return seeds


def _lines(content: bytes, most: int) -> bytes:
    """Whole lines of its beginning."""
    return content if len(content) <= most else content[:most].rpartition(b"\n")[0]


def _texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


def _profiles() -> list[bytes]:
    here = Path(__file__).parents[1] / "models" / "profiles"
    return [path.read_bytes() for path in sorted(here.glob("*/*.yaml"))][:10]


def _controllers() -> list[bytes]:
    here = Path(__file__).parents[1] / "training" / "controllers"
    return [path.read_bytes() for path in sorted(here.glob("*.json"))]


def _tables() -> list[bytes]:
    """A small one: the shipped one takes a second to read."""
    import tempfile

    from testbed.tables.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts

    entropies = ByOutcome(Exponential(0.3), Exponential(1.5))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.parquet"
        iid_table(made_up_prompts(2, 4, 0), 5, 0.8, entropies, entropies, 0, 3, 0.5).write(path)
        return [path.read_bytes()]


LOADERS: Mapping[str, Loader] = {
    one.name: one
    for one in (
        Loader("experiment", ".yaml", _experiment, _texts(SMALL)),
        Loader("sweep", ".yaml", _sweep, _texts(SMALL)),
        Loader("override", ".txt", _override, _texts(*OVERRIDES)),
        Loader("topology", ".yaml", _topology, _topologies),
        Loader("matrix", ".csv", _matrix, _shipped("topologies", "*.csv", 2_000)),
        Loader("import", ".txt", _import, _texts(*IMPORTS)),
        Loader("import trace", ".txt", _import_trace, _texts(*TRIPS)),
        Loader("places", ".csv", _places, _texts(*PLACES)),
        Loader("profile", ".yaml", _profile, _profiles),
        Loader("series", ".csv", _series, _shipped("workloads/rtt", "*.csv", 2_000)),
        Loader("prompts", ".jsonl", _prompts, _shipped("workloads/prompts", "*.jsonl", 3_000)),
        Loader("collections", ".jsonl", _prompts, _texts(*COLLECTIONS)),
        Loader("load", ".csv", _load, _texts(*TRACES)),
        Loader("fit", ".csv", _fit, _texts(*TRACES)),
        Loader("servegen", ".txt", _servegen, _texts(SERVEGEN)),
        Loader("tenants", ".yaml", _tenants, _texts(TENANTS)),
        Loader("load profile", ".yaml", _load, _shipped("workloads/load", "mooncake-synthetic.yaml", 3_000)),
        Loader("table", ".parquet", _table, _tables),
        Loader("controller", ".json", _controller, _controllers),
        Loader("model", ".bin", _model, _model_seeds),
        Loader("claims", ".yaml", _claims, _shipped("experiments", "*/claims.yaml", 1_500)),
        Loader("journal", ".jsonl", _journal, _texts('{"run_id":"a","valid":true}\n{"run_id":"b","error":"x"}\n')),
        Loader("run", ".bin", _run, _run_seeds),
    )
}


def close() -> None:
    """Removes what loaders made for themselves."""
    if _a_model.cache_info().currsize:
        shutil.rmtree(_a_model(), ignore_errors=True)
        _a_model.cache_clear()
    if _a_run.cache_info().currsize:
        shutil.rmtree(_a_run().parents[1], ignore_errors=True)
        _a_run.cache_clear()
        _rows.cache_clear()


def call(loader: Loader, content: bytes, folder: Path) -> Any:
    """Reads one mutated file."""
    path = folder / f"input{loader.suffix}"
    path.write_bytes(content)
    return loader.read(path)
