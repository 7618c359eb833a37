"""Every published form of a trace is read; what cannot be meant is refused with its line and what to write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.workload.load.asked import Trace
from testbed.workload.load.read import read_trace
from testbed.workload.load.source import load_load
from testbed.workload.load.times import NS, day, moment

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
)
AZURE_2024 = AZURE.replace("2023-11-16 18:15:46.6805900", "2024-05-10 00:00:00.009930+00:00").replace(
    "2023-11-16 18:15:50.9951690", "2024-05-10 00:00:00+00:00"
)
BURST = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
    "45,ChatGPT,0,0,0,Conversation log\n118,GPT-4,417,276,693,API log\n"
)
BURST_3 = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log\n19440161.0,,2,ChatGPT,36,29,65,API log\n"
)
MOONCAKE = (
    '{"timestamp": 0, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]}\n'
    '{"timestamp": 3000, "input_length": 1500, "output_length": 6, "hash_ids": [0, 1, 2]}\n'
)


def read(tmp_path: Path, content: str | bytes, name: str = "trace.csv") -> Trace:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_trace(path)


AZURES = {
    "as published": AZURE,
    "byte order mark": "\ufeff" + AZURE,
    "line ends of Windows": AZURE.replace("\n", "\r\n"),
    "case and order": "generatedtokens,Timestamp,CONTEXTTOKENS\n44,2023-11-16 18:15:46.6805900,374\n"
    "109,2023-11-16 18:15:50.9951690,396\n",
    "underscores": AZURE.replace("ContextTokens", "context_tokens").replace("GeneratedTokens", "generated_tokens"),
    "quotes": '"TIMESTAMP","ContextTokens","GeneratedTokens"\n"2023-11-16 18:15:46.6805900","374","44"\n'
    '"2023-11-16 18:15:50.9951690","396","109"\n',
    "semicolons": AZURE.replace(",", ";"),
    "tabs": AZURE.replace(",", "\t"),
    "T and Z": AZURE.replace("16 18", "16T18").replace("00,374", "00Z,374").replace("90,396", "90Z,396"),
    "zones": AZURE.replace("00,374", "00+00:00,374").replace("18:15:50.9951690,396", "20:15:50.9951690+0200,396"),
    "slashes": AZURE.replace("2023-11-16", "2023/11/16"),
    "empty lines": AZURE.replace("\n", "\n\n"),
    "rows of commas": AZURE + ",,\n",
    "unsorted": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:50.9951690,396,109\n"
    "2023-11-16 18:15:46.6805900,374,44\n",
    "an index in front": ",TIMESTAMP,ContextTokens,GeneratedTokens\n0,2023-11-16 18:15:46.6805900,374,44\n"
    "1,2023-11-16 18:15:50.9951690,396,109\n",
    "whole numbers as floats": AZURE.replace("374,44", "374.0,44.0"),
    "epoch in seconds": "TIMESTAMP,ContextTokens,GeneratedTokens\n1700158546.68059,374,44\n1700158550.995169,396,109\n",
    "epoch in milliseconds": "TIMESTAMP,ContextTokens,GeneratedTokens\n1700158546680.59,374,44\n"
    "1700158550995.169,396,109\n",
    "epoch in nanoseconds": "TIMESTAMP,ContextTokens,GeneratedTokens\n1700158546680590000,374,44\n"
    "1700158550995169000,396,109\n",
    "comments": "# from somewhere\n" + AZURE,
    "fractions of other lengths": AZURE.replace("46.6805900", "46.68059").replace("50.9951690", "50.995169000"),
}  # fmt: skip


@pytest.mark.parametrize("form", AZURES)
def test_azure_is_read_however_it_is_written(tmp_path: Path, form: str) -> None:
    found = read(tmp_path, AZURES[form])
    assert found.format == "azure"
    assert [(one.input_tokens, one.output_tokens) for one in found.requests] == [(374, 44), (396, 109)]
    assert [one.at_s for one in found.requests] == [0.0, pytest.approx(4.314579, abs=1e-9)]
    assert found.starts == "2023-11-16T18:15:46.68059"
    assert ("sorted" in found.about) == (form == "unsorted")


def test_azure_2024_has_a_zone_and_sometimes_no_fraction(tmp_path: Path) -> None:
    found = read(tmp_path, AZURE_2024)
    assert found.starts == "2024-05-10T00:00:00" and found.requests[-1].at_s == pytest.approx(0.00993)
    assert found.about["sorted"].startswith("1 rows were earlier")


@pytest.mark.parametrize("text", [BURST, BURST.replace("5,ChatGPT,472", "5.0,ChatGPT,472.0"), "\ufeff" + BURST])
def test_burstgpt_leaves_failed_requests_out_and_says_so(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert found.format == "burstgpt" and found.starts is None
    assert [one[:3] for one in found.requests] == [(0.0, 472, 18), (113.0, 417, 276)]
    assert found.about == {"left_out": "1 of 3 rows, which have no input or no output tokens"}


def test_burstgpt_with_sessions_is_read_by_its_names(tmp_path: Path) -> None:
    found = read(tmp_path, BURST_3)
    assert [one[:4] for one in found.requests] == [(0.0, 906, 446, "1722ac82"), (51.0, 36, 29, None)]


@pytest.mark.parametrize(
    "text",
    [
        MOONCAKE,
        "\ufeff" + MOONCAKE,
        MOONCAKE + "\n\n",
        json.dumps([json.loads(line) for line in MOONCAKE.splitlines()], indent=1),
        MOONCAKE.replace("3000", '"3000"'),
        MOONCAKE.replace('"timestamp"', '"Timestamp"'),
    ],
)
def test_mooncake_is_read_with_what_a_prefix_cache_would_know(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text, "trace.jsonl")
    assert found.format == "mooncake"
    assert [one[:3] for one in found.requests] == [(0.0, 700, 5), (3.0, 1500, 6)]
    assert [one.known_tokens for one in found.requests] == [0, 1024]


OTHERS = {
    "ours": "arrival_s,input_tokens,output_tokens\n0.0,374,44\n4.5,396,109\n",
    "vidur": "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n4.5,396,109\n",
    "splitwise": "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
    "0,2,0,0.0,1,374,44\n1,2,0,4.5,1,396,109\n",
    "milliseconds": "request_id,arrival_time_ms,prompt_tokens,output_tokens\na,0,374,44\nb,4500,396,109\n",
}


@pytest.mark.parametrize("form", OTHERS)
def test_csv_of_simulators_is_read_by_its_names(tmp_path: Path, form: str) -> None:
    found = read(tmp_path, OTHERS[form])
    assert [one[:3] for one in found.requests] == [(0.0, 374, 44), (4.5, 396, 109)]


REFUSED: dict[str, str | bytes] = {
    r":2: time 'yesterday': .*a time is a number, or as 2023": AZURE.replace(
        "2023-11-16 18:15:46.6805900", "yesterday"
    ),
    r":2: has no time": AZURE.replace("2023-11-16 18:15:46.6805900", ""),
    r":3: input tokens '3,96'|:3: 4 fields, not the 3": AZURE.replace("396", "3,96"),
    r":3: input tokens '-396': write a whole number": AZURE.replace("396", "-396"),
    r":3: input tokens '39.6': write a whole number": AZURE.replace("396", "39.6"),
    r":3: input tokens '1e99'": AZURE.replace("396", "1e99"),
    r":3: has no number of input tokens": AZURE.replace("396", ""),
    r":3: time .* is not written like that of line 2": AZURE.replace("50.9951690", "50.9951690Z"),
    r":1: no column says their output tokens: .*did you mean 'GeneratedTokens'": AZURE.replace(
        "GeneratedTokens", "GeneratedToken"
    ),
    r":1: columns 'ContextTokens' and 'prompt_tokens' both are input": AZURE.replace(
        "ContextTokens", "ContextTokens,prompt_tokens"
    ),
    r":1: the first line must name the columns": AZURE.partition("\n")[2],
    r"holds no requests: it is empty": "\n\n",
    r"holds no requests: its lines are empty": ",,\n,,\n",
    r"holds no requests$": AZURE.partition("\n")[0] + "\n",
    r"none of its 1 rows has input and output tokens": BURST.replace("472,18", "0,0")
    .rpartition("118")[0]
    .replace("45,ChatGPT,0,0,0,Conversation log\n", ""),
    r":2: is not a JSON object": MOONCAKE.splitlines()[0] + "\n{oops\n",
    r":1: no column says when requests came": '{"request_id": 0, "input_length": 61, "output_length": 2370}\n',
    r":1: no column says their output tokens": '{"timestamp": 0, "input_length": 61, "hash_ids": []}\n',
    r":2: has no number of output tokens": MOONCAKE.replace('"output_length": 6, ', ""),
    r":2: has no number of output tokens; write one": MOONCAKE.replace('"output_length": 6', '"output_length": null'),
    r":2: entry 2 is \[\]": MOONCAKE.splitlines()[0] + "\n[]\n",
    r":1: is UTF-16": AZURE.encode("utf-16"),
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_what_cannot_be_meant_is_refused_by_line(tmp_path: Path, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read(tmp_path, REFUSED[complaint])


def test_a_file_with_many_mistakes_names_twenty(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, "arrival_s,input_tokens,output_tokens\n" + "x,1,1\n" * 100)
    assert len(caught.value.__notes__) >= 19


def test_all_requests_at_one_time_are_no_load(tmp_path: Path) -> None:
    path = tmp_path / "flat.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n1,1,1\n1,2,2\n")
    with pytest.raises(BadInput, match="all its requests come at the same time"):
        load_load(str(path))


def test_a_trace_is_replayed_whole_thinned_and_doubled(tmp_path: Path) -> None:
    path = tmp_path / "even.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{n},{n + 1},1\n" for n in range(1000)))
    load = load_load(str(path))
    once = list(load.requests(1, 0.0, 1000.0))
    assert [one.input_tokens for one in once] == list(range(1, 1001))
    assert [one.input_tokens for one in load.requests(1, 990.0, 1010.0)] == [*range(991, 1001), *range(1, 11)]
    assert len(list(load.requests(1, 0.0, 1000.0, 0.3))) == pytest.approx(300, abs=60)
    doubled = [one.at_s for one in load.requests(1, 0.0, 1000.0, 2.0)]
    assert len(doubled) == 2000 and doubled == sorted(doubled)


def test_times_are_exact_to_the_nanosecond() -> None:
    assert moment("2023-11-16 18:17:03.9799600", "s").ns % NS == 979_960_000
    assert moment("1700158623979960001", "s").ns == 1_700_158_623_979_960_001
    assert day(moment("2024-05-10T02:00:00+02:00", "s").ns) == "2024-05-10T00:00:00"
    for wrong in ("2023-13-01 00:00:00", "2023-11-16", "nan", "-1"):
        with pytest.raises(ValueError):
            moment(wrong, "s")


def servegen(folder: Path, client: str, rows: str, lengths: dict[str, object] | None) -> None:
    (folder / f"{client}-trace.csv").write_text(rows)
    if lengths is not None:
        (folder / f"{client}-dataset.json").write_text(json.dumps(lengths))


ROWS = "0,1.5,2.0,Gamma,0.3,0.4\n600,0,0,,0,0\n1200,0.5,0.9,Weibull,0.4,3.3\n"
LENGTHS: dict[str, object] = {"0": {"input_tokens": "{10: 0.5, 20: 0.5}", "output_tokens": "{3: 1.0}"}}


def test_a_folder_of_servegen_is_a_profile_of_its_clients(tmp_path: Path) -> None:
    servegen(tmp_path, "chunk-0", ROWS, LENGTHS)
    servegen(tmp_path, "chunk-1", ROWS.replace("1.5", "3"), None)
    load = load_load(f"{tmp_path}/")
    assert load.seconds == 1800 and load.of.lengths.input.quantiles[0] == (0, 10)  # type: ignore[union-attr]
    requests = list(load.requests(1, 0.0, 1800.0))
    assert len(requests) == pytest.approx(600 * (1.5 + 0.5 + 3 + 0.5), rel=0.15)
    assert not any(600 < one.at_s < 1200 for one in requests)
    assert {one.input_tokens for one in requests} <= set(range(10, 21)) and {r.output_tokens for r in requests} == {3}


def test_one_client_of_servegen_has_its_lengths_beside_it(tmp_path: Path) -> None:
    servegen(tmp_path, "chunk-7", ROWS, {"0": {"text_tokens": {"5": 1.0}, "output_tokens": {"3": 1.0}}})
    assert load_load(str(tmp_path / "chunk-7-trace.csv")).of.streams[0].name == "chunk-7"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rows", "lengths", "complaint"),
    [
        (ROWS.replace("Gamma", "Gama"), LENGTHS, r"chunk-0-trace.csv:1: family 'Gama' is none of"),
        (ROWS.replace("600,", "0,"), LENGTHS, r":2: 0 s is not after the window before it"),
        (ROWS.replace("1200,", "1300,"), LENGTHS, r":3: windows are not evenly 600 s apart"),
        (ROWS.replace("1.5", "fast"), LENGTHS, r":1: rate 'fast'"),
        (ROWS, None, "there are no lengths: put NAME-dataset.json beside"),
        (ROWS, {"0": {"input_tokens": "{10: 1}"}}, "at 0 s: output_tokens is missing"),
        (ROWS, {"0": {"input_tokens": "{10; 1}", "output_tokens": "{}"}}, "'10; 1' is not TOKENS: SHARE"),
        (ROWS, {"zero": {}}, "key 'zero': write a number; keys are seconds"),
        ("0,0,0,,0,0\n600,0,0,,0,0\n", LENGTHS, "no client has any requests"),
        (ROWS.replace("0.5,", "9999999999999999999999999999991.5,"), LENGTHS, ":3: requests.2: should be less than"),
        ("0,1,1,Gamma,0,0\n2000000,1,1,Gamma,0,0\n", LENGTHS, "step_s: should be less than or equal to 1000000"),
        (ROWS, {"0": {"input_tokens": "{99999999999: 1}", "output_tokens": "{}"}}, "at 0 s: 99999999999 tokens"),
        (ROWS, {"0": {"input_tokens": "{9: -1}", "output_tokens": "{}"}}, "at 0 s: 9 tokens have a share of -1"),
        (ROWS, {"0": {"input_tokens": "{9: 1e300}", "output_tokens": "{}"}}, "at 0 s: 9 tokens have a share of 1e300"),
        (ROWS, {"0": {"input_tokens": "{9: 0}", "output_tokens": "{9: 1}"}}, "there are no lengths"),
    ],
)
def test_what_servegen_never_wrote_is_refused(
    tmp_path: Path, rows: str, lengths: dict[str, object] | None, complaint: str
) -> None:
    servegen(tmp_path, "chunk-0", rows, lengths)
    with pytest.raises(BadInput, match=complaint):
        load_load(f"{tmp_path}/")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a folder without ServeGen's files"):
        load_load(f"{tmp_path}/")
