"""Files as people really have them: read as they are meant, or refused in one line with place and fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.files.numbers import number
from testbed.files.yamlfile import load_yaml
from testbed.files.yamltext import MAX_VALUES, parse
from testbed.models.devices import load_profile
from testbed.network.spec.series import load_series
from testbed.network.spec.topology import load_topology
from testbed.sweeps.plan import load_sweep

EXPERIMENT = """\
name: edge
topology: two-sites
workload: {prompts: prose, requests: 2, arrivals: sequential, output_tokens: 8}
models: {target: tiny-target, draft: tiny-draft}
place: {user: near, target: near, drafter: far}
policies:
  - autoregressive
  - speculative: {k: 2}
  - wanspec: {k: 2}
"""
TOPOLOGY = """\
name: t
description: d
source: {citation: own, licence: none}
measured_on: 2026-01-01
regions:
  - {name: a, provider: x}
  - {name: b, provider: x}
symmetric: true
intra_site_rtt_ms: 1.0
rtt_ms:
  a: {b: 100}
"""
PROFILE = """\
device: d
model: m
kind: synthetic
source: s
max_pass_tokens: 8
pass_ms: [[1, 2.0], [8, 3.0]]
"""
SERIES = """\
# description: two sites, a check
# kind: measured
# source: our own
# licence: none
time_s,src,dst,rtt_ms
0,near,far,11.5
10,near,far,12.5
"""


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(BadInput) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("text", "value"),
    [("\u0661\u0662", "\u0661\u0662"),
     ("100", 100), ("-5", -5), ("+5", 5), ("1_000", 1000), ("0x1f", 31), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0),
     ("true", True), ("~", None), ("null", None), ("inf", "inf"), ("50%", "50%"), ("1__0", "1__0"), ("0o17", "0o17"),
     ("'0100'", "0100"), ("!!str 0100", "0100"), ("10.0.0.1", "10.0.0.1"), ("1:60", "1:60")],
)  # fmt: skip
def test_a_scalar_is_what_both_versions_of_yaml_read(text: str, value: object) -> None:
    found = parse(f"a: {text}", "f.yaml")[0]["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0100", "0100 is octal in YAML 1.1 because of its leading 0; write 100, or '0100' in quotes"),
        ("-007", "write -7"),
        ("0800", "write 800"),
        ("1:30", "is a base-60 number in YAML 1.1; write one number, or '1:30' in quotes"),
        ("190:20:30.5", "base-60 number"),
        ("yes", "write true or false, or 'yes' in quotes"),
        ("NO", "write true or false"),
        (".inf", "is not a valid number"),
        ("-.INF", "is not a valid number"),
        (".NaN", "is not a valid number"),
        ("1e999", "too large"),
        ("1e-999", "too small"),
        ("9" * 5000, "does not fit into 64 bits"),
        ("0x" + "f" * 5000, "does not fit into 64 bits"),
        ("2026-02-30", "put text in quotes"),
        ("!!timestamp foo", "tag 'tag:yaml.org,2002:timestamp' is not supported"),
        ("!!int ''", "is not supported"),
        ("!!python/object:os.system x", "is not supported"),
        ("!mine x", "is not supported"),
        ('"\0"', "control character U+0000"),
        ("\x1b[2J", "control character U+001B"),
    ],
)
def test_what_readers_of_yaml_disagree_on_is_refused_with_its_line(text: str, says: str) -> None:
    message = refused(lambda: parse(f"# first\nb: 1\na: {text}\n", "f.yaml"))
    assert message.startswith("f.yaml:3: ") and says in message, message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: &x [*x]", "contains itself"),
        ("[" * 2000, "nested more than"),
        ("- " * 2000, "nested more than"),
        ("a: 1\na: 2", "f.yaml:2: key 'a' is given twice; first on line 1"),
        ("1: a\n0x1: b", "key 1 is given twice"),
        ("a: 1\n---\nb: 2", "another document"),
        ("no: 1", "f.yaml:1: no is a string"),
        ("2026-01-01: 1", "key '2026-01-01' is not text; put it in quotes"),
        ("true: 1", "put it in quotes"),
        ("? [a]\n: 1", "put it in quotes"),
        ("<<: 3", "merges mappings only"),
        ("a: *b", "undefined alias"),
        ("a:\n\t- b", "f.yaml:2: is not YAML"),
        ("[" + "1," * (MAX_VALUES + 1) + "]", f"more than {MAX_VALUES} values"),
    ],
)  # fmt: skip
def test_yaml_that_is_none_or_too_much_is_refused(text: str, says: str) -> None:
    assert says in refused(lambda: parse(text, "f.yaml"))


@pytest.mark.parametrize("start", ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n", "a0: &a0 {b: 1}\n"])
def test_aliases_are_counted_before_they_are_expanded(start: str) -> None:
    """Nine levels of nine: 600 bytes that would be 387 million values."""
    merge = "{<<: [%s]}" if "{" in start else "[%s]"
    levels = [f"a{n}: &a{n} " + merge % ",".join([f"*a{n - 1}"] * 9) for n in range(1, 9)]
    assert "aliases (*name) expanded" in refused(lambda: parse(start + "\n".join(levels), "f.yaml"))


def test_merged_keys_give_way_to_the_mapping_s_own_and_the_first_of_several_wins() -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], c: 3}"
    assert parse(text, "f.yaml")[0]["z"] == {"a": 1, "b": 1, "c": 3}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("network.loss=50%", "network.loss is '50%'; write a share, 0.5"),  # case 03
        ("workload.sampling.top_p=95%", "workload.sampling.top_p is '95%'; write a share, 0.95"),
        ("network.loss=50", "network.loss: should be less than 1 (it is 50); a percentage? write a share, 0.5"),
        ("network.rate_mbit=50%", "write the number alone: 50"),
        ("network.rtt_ms=0100", "0100 is octal in YAML 1.1"),  # case 27
        ("network.rtt_ms=1:30", "base-60 number"),
        ("network.rtt_ms='\"100\"'", "network.rtt_ms is"),
        ("network.jitter_ms=\"5\"", "network.jitter_ms is '5'; write it without quotes: 5"),
        ("network.jitter_ms=\uff15", "in the digits 0 to 9: 5"),
        ("network.jitter_ms=0,5", "write 0.5, with a decimal point"),
        ("network.rate_mbit=1,000", "write 1000, or 1.000 if the comma is a decimal comma"),
        ("network.rate_mbit=1 000", "write 1000, without thousands separators"),
        ("network.jitter_ms=5 ms", "write the number alone, in the unit the key names: 5"),
        ("workload.requests=true", "true is not a number"),
        ("workload.requests=2.0", "workload.requests is 2.0; write 2"),
        ("workload.requests=2.5", "workload.requests: should be a valid integer"),
        ("workload.ignore_eos=1", "workload.ignore_eos: should be a valid boolean"),
        ("name=2026-01-01", "put text in quotes (it is 2026-01-01)"),
        ("name=5", "put text in quotes (it is 5)"),
        ("policies.wanspec.phi=.inf", ".inf is not a valid number"),
        ("policies.wanspec.k=true", "wanspec: k is true; true is not a number"),
        ("policies.².k=3", "no policy '²' in this file"),
        ("policies." + "9" * 5000 + "=3", "is not an index"),
        ("a" + ".a" * 5000 + "=1", "at most"),
        ("workload.arrivals={poisson: {rate_per_s: 1e-300}}", "should be greater than or equal to 0.0001"),
        # case 28
        ("workload.arrivals=poisson", "should be like sequential, {poisson: {rate_per_s: 0.5}}, {closed_loop: "
         "{stagger_s: 5}} or {burst: {rate_per_s: 1, surges: ["),
        ("workload.arrivals=azure.csv", "arrivals cannot be read from a file"),
        ("outcomes=iid", "should be like recorded, {iid: {match: 0.8}} or {drawn: {table: tiny-prose}}"),
        ("place.drafter=7", "should be like us-east-2, [us-east-2, us-west-2] or {us-east-2: 3}"),
        ("place.drafter={far: 1000000000000}", "should be less than or equal to 2000"),
        ("place.drafter={far: 1999, near: 1999}", "nodes exceed the limit of 2000 per network"),
    ],
)  # fmt: skip
def test_no_value_is_silently_another(tmp_path: Path, override: str, says: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT)
    message = refused(lambda: load_scenario(path, [override]))
    assert message.startswith(("override ", f"{path}:5: place: 4000")) and says in message, message


def test_case_27_and_55_in_a_topology(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    for change, line, says in (
        ("{b: 0100}", 11, "write 100"),
        ("{b: 1:30}", 11, "base-60 number"),
        ("{b: true}", 11, "true is not a number"),
        ("{b: 50%}", 11, "write the number alone: 50"),
    ):
        path.write_text(TOPOLOGY.replace("{b: 100}", change))
        message = refused(lambda: load_topology(path))
        assert message.startswith(f"{path}:{line}: ") and says in message
    path.write_text(TOPOLOGY.replace("description: d", 'description: "a\0b"'))
    assert refused(lambda: load_topology(path)).startswith(f"{path}:2: contains the control character U+0000")
    path.write_text("name: &x [*x]\n")
    assert refused(lambda: load_topology(path)).startswith(f"{path}:1: contains itself")
    path.write_bytes(b"\xef\xbb\xbf" + TOPOLOGY.encode())
    assert load_topology(path).rtt["a"]["b"] == 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("[8, .nan]", ".nan is not a valid number"),
        ("[8, 1e300]", "should be less than or equal to 3600000"),
        ("[8, -1]", "should be greater than 0"),
        ("[8, true]", "true is not a number"),
        ("[8, '3']", "write it without quotes: 3"),
        ("[8.0, 3]", "write 8"),
        ("8", "pass_ms.1"),
        ("[8, 3], [8, 4]", "ascending"),
    ],
)
def test_a_device_s_times_are_finite_numbers(tmp_path: Path, change: str, says: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(PROFILE)
    assert load_profile(str(path)).duration_ms(8) == 3.0
    path.write_text(PROFILE.replace("[8, 3.0]", change))
    message = refused(lambda: load_profile(str(path)))
    assert message.startswith(f"{path}:6: ") and says in message, message


@pytest.mark.parametrize(
    "raw", [b"\xef\xbb\xbf" + SERIES.encode(), SERIES.encode() + b"\n\n", SERIES.replace("\n", "\r\n").encode()]
)  # case 21
def test_a_series_is_read_with_a_byte_order_mark_blank_lines_at_its_end_and_foreign_line_ends(
    tmp_path: Path, raw: bytes
) -> None:
    for name, content in (("ok", SERIES.encode()), ("other", raw)):
        (tmp_path / f"{name}.csv").write_bytes(content)
    ok, other = load_series(str(tmp_path / "ok.csv")), load_series(str(tmp_path / "other.csv"))
    assert (other.pairs, other.about) == (ok.pairs, ok.about)


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        ("10,near,far,12,5", 7, "5 fields"),
        ("10,near,far,nan", 7, "rtt_ms is 'nan'; write a number"),
        ("10,near,far,1_0", 7, "rtt_ms is '1_0'"),
        ("10,near,far,\uff11\uff12", 7, "in the digits 0 to 9: 12"),
        ('10,near,far,"12.5"', 7, "without quotes: 12.5"),
        ("10,near,far,12.5 ms", 7, "write the number alone"),
        ("10,near,far,-1", 7, "write 0 or more"),
        ('10,"near",far,12', 7, "without quotes or surrounding blanks"),
        ("10, near,far,12", 7, "without quotes or surrounding blanks"),
        ("\n10,near,far,12.5", 7, "is an empty line; remove it"),
        ("1e12,near,far,12.5", 7, "are the times in seconds"),
        ("1e400,near,far,12.5", 7, "time_s is '1e400'"),
    ],
)
def test_a_row_of_a_series_that_is_none_is_refused(tmp_path: Path, change: str, line: int, says: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(SERIES.replace("10,near,far,12.5", change))
    message = refused(lambda: load_series(str(path)))
    assert message.startswith(f"{path}:{line}: ") and says in message, message


@pytest.mark.parametrize("text", ["1", " 1.5 ", "1e3", ".5", "5.", "-3", "+3"])
def test_a_number_is_written_in_one_way(text: str) -> None:
    assert number(text) == float(text)


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "1_0", "\uff11", "1e400", "1e-400", "0x10", "1,5", "1" * 50, "--1", "1e", "\u0661"]
)
def test_other_numbers_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        number(text)


@pytest.mark.parametrize("name", ["../../escaped", "/etc/x", "a/b", "", "a\tb", "'7'"])
def test_a_sweep_s_name_is_a_file_name_even_where_its_points_have_others(tmp_path: Path, name: str) -> None:
    """Invariant: nothing is written outside the folder of results. The name was that of the sweep's folder."""
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT.replace("name: edge", f'name: "{name}"') + "matrix: {name: [a, b]}\n")
    if name == "'7'":
        path.write_text(EXPERIMENT.replace("name: edge", "name: 7") + "matrix: {name: [a, b]}\n")
    assert refused(lambda: load_sweep(path)).startswith(f"{path}:1: name: ")


@pytest.mark.parametrize("load", [load_yaml, load_scenario, load_topology, load_series, load_profile])
def test_no_loader_waits_for_a_file_without_end(tmp_path: Path, load: Callable[[Any], Any]) -> None:
    link = tmp_path / ("x.csv" if load is load_series else "x.yaml")
    link.symlink_to("/dev/zero")
    named = str(link) if load in (load_series, load_profile) else link
    assert "is a device, not a file" in refused(lambda: load(named))
