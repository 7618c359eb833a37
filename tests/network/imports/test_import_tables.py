"""Lists of pairs and matrices, in every dress that they come in: read alike, or refused with line and fix."""

# ruff: noqa: E501  # lines are as other programs write them

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.files.reading import read_others_text
from testbed.network.imports.formats import OF_TOPOLOGIES, format_of
from testbed.network.imports.found import Found, Options


def read(tmp_path: Path, content: str | bytes, told: str | None = None, **options: object) -> tuple[str, Found]:
    path = tmp_path / "measured.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    text, _ = read_others_text(path)
    found, _ = format_of(text, path, OF_TOPOLOGIES, told)
    assert found.figures is not None
    return found.name, found.figures(text, path, Options(**options))  # type: ignore[arg-type]


BOTH = {("a", "b"): 12.5, ("b", "a"): 13.0}
LISTS = {
    "tidy": "src,dst,rtt_ms\na,b,12.5\nb,a,13\n",
    "byte order mark, CRLF": "\ufeffsrc,dst,rtt_ms\r\na,b,12.5\r\nb,a,13\r\n",
    "old Mac lines": "src,dst,rtt_ms\ra,b,12.5\rb,a,13\r",
    "semicolons, decimal commas": "Source;Destination;RTT\na;b;12,5\nb;a;13,0\n",
    "semicolons, three decimals": "Source;Destination;RTT\na;b;12,500\nb;a;13,000\n",
    "tabs": "From\tTo\tLatency (ms)\na\tb\t12.5\nb\ta\t13\n",
    "Excel's first line": "sep=;\nfrom;to;ping\na;b;12,5\nb;a;13\n",
    "quotes": '"source","target","rtt"\n"a","b","12.5"\n"b","a","13"\n',
    "quoted decimal commas": 'source,target,rtt\na,b,"12,5"\nb,a,"13,0"\n',
    "microseconds in the heading": "src,dst,rtt_us\na,b,12500\nb,a,13000\n",
    "seconds in the heading": "src,dst,latency [s]\na,b,0.0125\nb,a,0.013\n",
    "units in the cells": "src,dst,rtt\na,b,12.5 ms\nb,a,13000us\n",
    "camel case": "regionFrom,regionTo,avgLatency\na,b,12.5\nb,a,13\n",
    "other words": "Client,Server,median_rtt\na,b,12.5\nb,a,13\n",
    "more columns": "id,src_region,dst_region,min,avg,max,mdev\n1,a,b,1,12.5,99,1\n2,b,a,2,13,99,1\n",
    "a median beside a mean": "src,dst,avg_ms,p50_ms,p99_ms\na,b,99,12.5,500\nb,a,98,13,500\n",
    "vantage points": "vantage_point,endpoint,avg\na,b,12.5\nb,a,13\n",
    "columns in another order": "rtt_ms,dst,src\n12.5,b,a\n13,a,b\n",
    "no headings": "a,b,12.5\nb,a,13\n",
    "comments and empty lines": "# by hand\nsrc,dst,rtt_ms\n\na,b,12.5\n# more\nb,a,13\n\n",
    "a title above": "My measurements\nsrc,dst,rtt_ms\na,b,12.5\nb,a,13\n",
    "blanks for columns": "src  dst  rtt_ms\na    b    12.5\nb    a    13\n",
    "Markdown": "| src | dst | rtt (ms) |\n|:---|---|--:|\n| a | b | 12.5 |\n| **b** | a | 13 |\n",
    "HTML": "<table><tr><th>From</th><th>To</th><th>RTT ms</th></tr><tr><td>a<td>b<td>12.5</tr>"
    "<tr><td>b</td><td>a</td><td>13</td></tr></table>",
    "inside one region": "src,dst,rtt_ms\na,a,0\na,b,12.5\nb,a,13\nb,b,0.4\n",
    "no figure": "src,dst,rtt_ms\na,b,12.5\na,c,-\nb,a,13\nb,c,n/a\nc,a,\nc,b,NaN\n",
    "the same twice": "src,dst,rtt_ms\na,b,12.5\nb,a,13\na,b,12.5\n",
    "several at several times": "src,dst,rtt_ms,date\na,b,12.4,2024-01-01\na,b,12.6,2024-01-02\nb,a,13,2024-01-02\n",
    "time first, as in traces": "time_s,src,dst,rtt_ms\n0,a,b,12.4\n1,a,b,12.6\n0,b,a,13\n",
    "scientific": "src,dst,rtt_ms\na,b,1.25e1\nb,a,1.3E+01\n",
    "thousands": 'src,dst,rtt_us\na,b,"12,500"\nb,a,"13,000.0"\n',
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_pairs_is_read(tmp_path: Path, name: str) -> None:
    format_name, found = read(tmp_path, LISTS[name])
    assert (format_name, dict(found.rtt_ms)) == ("pairs" if name == "more columns" else "csv-long", BOTH)


def test_text_of_other_encodings_is_read(tmp_path: Path) -> None:
    text = "src,dst,rtt_ms\nMünchen,b,12.5\nb,München,13\n"
    for raw in (codecs.BOM_UTF16_LE + text.encode("utf-16-le"), text.encode("cp1252"), text.encode()):
        assert read(tmp_path, raw)[1].rtt_ms == {("München", "b"): 12.5, ("b", "München"): 13.0}


def test_losses_and_the_day_are_taken_from_a_list(tmp_path: Path) -> None:
    _, found = read(tmp_path, "src,dst,rtt_ms,loss %,timestamp\na,b,12,19,1700000000\nb,a,13,0,1700000000\n")
    assert found.loss == {("a", "b"): pytest.approx(0.1)}  # one way: 0.9 x 0.9 come back
    assert str(found.measured_on) == "2023-11-14"


def test_what_is_not_taken_is_counted(tmp_path: Path) -> None:
    _, found = read(tmp_path, "src,dst,rtt_ms\na,a,0.4\na,b,12\nb,a,-\n")
    assert found.notes == ("1 cells without a figure", "1 figures inside one region, median 0.4 ms")
    assert found.inside_ms == (0.4,)
    assert found.gaps() == ["1 pairs have a figure in one direction, which counts for both"]


def test_a_column_can_be_named(tmp_path: Path) -> None:
    text = "src,dst,p50,p90\na,b,1.5,20\nb,a,1.5,21\n"
    assert read(tmp_path, text, statistic="p90")[1].rtt_ms == {("a", "b"): 20.0, ("b", "a"): 21.0}


def test_a_list_of_one_source_needs_its_name(tmp_path: Path) -> None:
    text = "City,Average,min,max\nParis,8.2ms,8,9\nRome,20.5ms,20,22\n"
    assert read(tmp_path, text, "csv-long", src="London")[1].rtt_ms == {
        ("London", "Paris"): 8.2,
        ("London", "Rome"): 20.5,
    }


MATRICES = {
    "tidy": ",a,b\na,,12.5\nb,13,\n",
    "zeros on the diagonal": "x,a,b\na,0,12.5\nb,13,0\n",
    "dashes on the diagonal": "from \\ to;a;b\na;-;12,5\nb;13;\u2014\n",
    "figures on the diagonal": "r,a,b\na,0.6,12.5\nb,13,0.7\n",
    "unit in the corner": "RTT (us),a,b\na,,12500\nb,13000,\n",
    "units in headings": ",a (s),b (s)\na,,0.0125\nb,0.013,\n",
    "nothing in the corner": "a,b\na,0,12.5\nb,13,0\n",
    "a delimiter at the end": ",a,b,\na,0,12.5,\nb,13,0,\n",
    "a title, tabs": "Round trips\n\ta\tb\na\t\t12.5\nb\t13\t\n",
    "blanks": "     a     b\na    -  12.5\nb   13     -\n",
    "Markdown": "|  | a | b |\n|--|--|--|\n| a |  | 12.5 |\n| b | 13 |  |\n",
    "names twice over": "code,name,a,b\na,Alpha,,12.5\nb,Beta,13,\n",
    "rows in another order": ",a,b\nb,13,\na,,12.5\n",
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_is_read(tmp_path: Path, name: str) -> None:
    format_name, found = read(tmp_path, MATRICES[name])
    assert (format_name, dict(found.rtt_ms)) == ("csv-matrix", BOTH)


def test_one_triangle_serves_both_directions_and_is_said_to(tmp_path: Path) -> None:
    for text in (
        ",a,b,c\na,,1.5,2.5\nb,,,3.5\nc,,,\n",
        ",a,b,c\na\nb,1.5\nc,2.5,3.5\n",
        ",a,b,c\na,-\nb,1.5,-\nc,2.5,3.5,-\n",
    ):
        _, found = read(tmp_path, text, "csv-matrix")
        assert sorted(found.rtt_ms.values()) == [1.5, 2.5, 3.5]
        assert found.gaps() == ["3 pairs have a figure in one direction, which counts for both"]


def test_a_matrix_can_be_given_names_and_turned(tmp_path: Path) -> None:
    text = "0 12.5\n13 0\n"
    assert read(tmp_path, text, names=("a", "b"))[1].rtt_ms == BOTH
    assert read(tmp_path, ",a,b\na,,13\nb,12.5,\n", rows="to")[1].rtt_ms == BOTH
    assert read(tmp_path, ",A,b\nA,,12.5\nb,13,\n", rename={"A": "a"})[1].rtt_ms == BOTH


AZURE = {
    "Markdown, a table a tab": "#### [West US](#tab)\n|Source|UK South|\n|---|---|\n|West Europe|9|\n|UK South||\n\n"
    "#### [Europe]\n\n|Source|West Europe|\n|--|--|\n|UK South|10|\n|West Europe||\n",
    "copied": "Source\tWest Europe\tUK South\nWest Europe\t\t9\nUK South\t10\t\n",
    "HTML": "<table><thead><tr><th>Source</th><th>West Europe</th><th>UK South</th></tr></thead><tbody><tr><td><b>West Europe"
    "</b></td><td></td><td>9</td></tr><tr><td>UK South</td><td>10</td><td></td></tr></tbody></table>",
    "CSV": "Source region,West Europe,UK South\nWest Europe,,9\nUK South,10,\n",
    "zeros are none": "Source,West Europe,UK South,Qatar Central\nWest Europe,,9,0\nUK South,10,,0\nQatar Central,0,0,\n",
    "codes": "source,westeurope,uksouth\nwesteurope,,9\nuksouth,10,\n",
}


@pytest.mark.parametrize("name", AZURE)
def test_azure_s_tables_are_read_by_their_codes(tmp_path: Path, name: str) -> None:
    format_name, found = read(tmp_path, AZURE[name])
    assert (format_name, found.kind) == ("azure", "backbone")
    assert found.rtt_ms == {("westeurope", "uksouth"): 9.0, ("uksouth", "westeurope"): 10.0}


LINES = {
    "arrows": "a -> b 12.5 ms\nb -> a: 13ms\n",
    "dashes": "a - b: 12.5\nb - a: 13.0\n",
    "dashes without blanks": "a-b: 12.5 ms\nb-a: 13.0 ms\n",
    "words": "a to b: 12,5 ms\nb to a: 13 ms\n",
    "bullets and a title": "Pings\n* a \u2192 b = 12.5ms\n* b \u2192 a = 13 ms\n",
    "brackets": "a \u2192 b (12.5 ms)\nb \u2192 a (13 ms)\n",
}


@pytest.mark.parametrize("name", LINES)
def test_pairs_in_words_are_read(tmp_path: Path, name: str) -> None:
    assert (read(tmp_path, LINES[name])[0], dict(read(tmp_path, LINES[name])[1].rtt_ms)) == ("pairs", BOTH)


def test_a_pair_of_both_directions_is_both(tmp_path: Path) -> None:
    _, found = read(tmp_path, "New York <-> London: 70.3 ms\nParis \u2194 Rome: 21 ms\n")
    assert found.rtt_ms[("London", "New York")] == found.rtt_ms[("New York", "London")] == 70.3


REFUSED = [
    ("src,dst,rtt_ms\na,b,fast\n", 2, "a -> b is 'fast'; write a number of milliseconds, or nothing"),
    ("src,dst,rtt_ms\na,b,-3\n", 2, "not negative; leave the cell empty where there is no figure"),
    ("src,dst,rtt_ms\na,b,0\n", 2, "a -> b is 0 ms; if that means that there is no figure, say --zeros missing"),
    ("src,dst,rtt_ms\na,b,12\na,b,15\n", 3, "a -> b is there twice with different figures; remove one, or say --repeats"),
    ("src,dst,rtt_ms\na,b,99999999\n", 2, "is the unit right? --unit us, ms or s"),
    ("src,dst,rtt_ms\na,b\nb,a,3\n", 2, "2 fields, and the figure is in field 3"),
    ("src,dst,rtt_ms\n,b,3\n", 2, "a pair without a name; write both regions"),
    ("src,dst,rtt\na,b,0.012\nb,a,0.013\n", None, "none has a unit; say --unit s, or --unit ms"),
    ("src\tdst\trtt_ms\na\tb\t1,234\nb\ta\t1,300\n", 2, "say --decimal comma or point"),
    ("src,dst,rtt_ms,loss\na,b,12,7\n", 2, "the loss is '7'; write a share of 0 to 1, or name the column loss %"),
    ('src,dst,rtt_ms\na,b,"12\n', 2, "is not CSV"),
    ("src,dst,rtt_ms\na,a,1\n", 2, "holds no figure of two regions"),
    (",a,b\na,,x1\nb,3,\n", 2, "a -> b is 'x1'"),
    (",a,b\na,,3\nb,3,,4\n", 3, "3 figures in the row of b for 2 columns"),
    (",a,b\na,,3\nc,3,\n", 3, "row 'c' is no column"),
    (",a,b\na,,3\n1\nb,3,\n", 3, "row '1' is no column"),
    (",a,a\na,,3\nb,3,\n", 1, "column 'a' is there twice"),
    ("0 1\n1 0\n", 1, "a matrix of 2 x 2 figures without names; say --names A,B,..."),
    ("", 1, "is empty"),
    ("hello\nworld\n", 1, "holds no table"),
    ("a -> b: 12 ms\nb -> a: 13 ms\na - c 1.2.3\n", 3, "number of milliseconds"),
    ("a -> b: 12 ms\na -> b: 13 ms\n", 2, "is there twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "says"), REFUSED)
def test_what_cannot_be_read_is_refused_with_line_and_fix(
    tmp_path: Path, text: str, line: int | None, says: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert says in message and "\n" not in message
    assert message.startswith(f"{tmp_path}/measured.txt:" + (f"{line}: " if line else ""))


@pytest.mark.parametrize(
    ("text", "told", "says"),
    [
        ("a,b\n1,2\n", "csv-long", "the columns must name source, destination and round trip"),
        ("src,dst,rtt_ms\na,b,3\n", "azure", "holds no table whose columns are Azure regions"),
        ("src,dst,rtt_ms\na,b,3\n", "csv", "--format 'csv' is none that can be imported here; did you mean"),
        ("src,dst,p50\na,b,3\n", None, "no column is called 'p90'"),
    ],
)
def test_a_format_that_was_told_is_kept_to(tmp_path: Path, text: str, told: str | None, says: str) -> None:
    options = {"statistic": "p90"} if told is None else {}
    with pytest.raises(BadInput, match=r"^[^\n]*$") as caught:
        read(tmp_path, text, told or "csv-long", **options)
    assert says in str(caught.value)


def test_options_settle_what_is_unclear(tmp_path: Path) -> None:
    tabs = "src\tdst\trtt_ms\na\tb\t1,234\nb\ta\t1,300\n"
    assert read(tmp_path, tabs, decimal="comma")[1].rtt_ms[("a", "b")] == 1.234
    assert read(tmp_path, tabs, decimal="point")[1].rtt_ms[("a", "b")] == 1234.0
    assert read(tmp_path, "src,dst,rtt\na,b,0.012\nb,a,0.013\n", unit="s")[1].rtt_ms[("a", "b")] == 12.0
    assert read(tmp_path, "src,dst,rtt_ms\na,b,0\nb,a,3\n", zeros="missing")[1].rtt_ms == {("b", "a"): 3.0}
    assert read(tmp_path, "src,dst,rtt_ms\na,b,12\na,b,14\n", repeats="median")[1].rtt_ms == {("a", "b"): 13.0}
