"""The report is one file that needs nothing else, shows every figure, and stamps a run that is not valid everywhere."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from testbed.report import header, validity_statement
from testbed.report.interactive.page import as_json
from testbed.report.interactive.request import MOST_PROMPTS, choose, requests
from testbed.report.page import number, render, write_report
from testbed.report.style import colours, dashes
from testbed.results.metrics import policy_logs
from testbed.results.store import RunData, frame_of
from testbed.results.summary import summarise
from tests.report.synthetic import COUNTS, POLICIES, manifest, records, run_data, usual, usual_page, write_run

FIGURES = 5  # that are drawn here; the others are drawn by the browser


@pytest.fixture(scope="module")
def page() -> str:
    return usual_page()


class Links(HTMLParser):
    """Collects everything a browser might fetch, and every tag that was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if tag == "script" and name == "src":
                self.fetched.append(f"script {value}")
            elif name in ("src", "srcset", "data", "poster", "action") or name.endswith("href"):
                self.fetched.append(value or "")


def parsed(page: str) -> Links:
    links = Links()
    links.feed(page)
    return links


def test_report_asks_the_network_for_nothing(page: str) -> None:
    links = parsed(page)
    assert all(target.startswith("#") for target in links.fetched), "only references inside the page"
    assert not {"link", "iframe", "img"} & set(links.tags)
    assert "@import" not in page
    drawn = "".join(re.findall(r"<svg.*?</svg>|<style>.*?</style>", page, re.DOTALL))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", drawn))


@pytest.mark.slow
def test_report_is_the_same_bytes_for_the_same_run(page: str) -> None:
    run = run_data()
    assert render(run, summarise(run, COUNTS)) == page


def test_report_shows_every_figure_and_every_policy(page: str) -> None:
    assert parsed(page).tags.count("svg") == FIGURES
    assert all(f"</i>{policy}</th>" in page for policy in POLICIES)
    assert "48/48" in page and "<strong>VALID</strong>" in page and "NOT VALID" not in page


@pytest.mark.slow
def test_every_figure_of_a_run_that_is_not_valid_is_stamped() -> None:
    rows = records()
    rows["requests"][0] = msgspec.structs.replace(rows["requests"][0], lossless=False)
    run = run_data(rows)
    page = render(run, summarise(run, COUNTS))
    assert "<strong>NOT VALID</strong>" in page
    assert page.count(">NOT VALID</text>") == FIGURES


@pytest.mark.slow
def test_every_figure_of_a_simulation_is_stamped_and_so_is_the_page() -> None:
    run = run_data()
    simulated = replace(run, manifest={**run.manifest, "engine": "simulation"})
    page = render(simulated, summarise(simulated, COUNTS))
    assert "<strong>SIMULATED</strong>" in page and "(SIMULATED)</title>" in page
    assert page.count(">SIMULATED</text>") == FIGURES - 1, "a simulation has no figure of pacing"
    assert page.count('"text":"SIMULATED"') == len(re.findall('"usermeta"', page)) >= 6, "and on those of the browser"
    assert "SIMULATED" not in usual_page()


@pytest.mark.slow
def test_report_is_written_from_the_run_directory_alone(page: str, tmp_path: Path) -> None:
    written = write_report(write_run(tmp_path / "run"))
    assert written == tmp_path / "run" / "report.html"
    assert written.read_text(encoding="utf-8") == page


@pytest.mark.slow
def test_text_from_the_experiment_is_escaped() -> None:
    run = run_data()
    hostile = RunData(**{**run.__dict__, "manifest": {**manifest(), "experiment": "<script>alert(1)</script>"}})
    page = render(hostile, summarise(hostile, COUNTS))
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


def test_what_stands_in_a_script_cannot_end_it() -> None:
    assert "</script" not in as_json({"a": "</script><script>alert(1)</script>"})


def test_a_simulated_run_has_no_link_or_pacing_figure_and_says_so() -> None:
    run = run_data({**records(), "links": []})
    simulated = RunData(**{**run.__dict__, "manifest": {**manifest(), "engine": "simulation", "fabric": "none"}})
    page = render(simulated, summarise(simulated, COUNTS))
    assert parsed(page).tags.count("svg") == FIGURES - 2
    assert "Time is virtual" in page and "<strong>VALID</strong>" in page


def test_a_run_in_which_nothing_finished_still_has_a_report() -> None:
    nothing = RunData(manifest=manifest(), **{kind: frame_of(kind, []) for kind in records()})
    page = render(nothing, summarise(nothing, COUNTS))
    assert "0 of 16 requests finished" in page


def test_the_request_that_is_shown_first_is_the_median_of_the_policy_that_drafts_elsewhere() -> None:
    logs = policy_logs(run_data())
    found = requests(logs)
    assert found is not None
    mine = logs["wanspec"].requests
    durations = (mine["finished_ns"] - mine["sent_ns"]).sort_values(kind="stable")
    assert found.prompts == choose(logs, len(found.prompts))
    assert len(set(found.prompts)) == len(found.prompts) == MOST_PROMPTS
    ranked = list(dict.fromkeys(mine.loc[durations.index, "prompt_id"]))
    assert found.prompts[0] == ranked[(len(ranked) - 1) // 2]


def test_every_verified_draft_of_a_request_has_one_mark() -> None:
    logs = policy_logs(run_data())
    found = requests(logs)
    assert found is not None and not found.cut
    for label, log in logs.items():
        keys = log.requests.index[log.requests["prompt_id"] == found.prompts[0]]
        rounds = log.rounds[(log.rounds["repeat"] == keys[0][0]) & (log.rounds["request"] == keys[0][1])]
        marks = [row["kind"] for row in found.verdicts if (row["policy"], row["prompt"]) == (label, found.prompts[0])]
        assert marks.count("draft accepted") == rounds["accepted"].sum()
        assert len(marks) == rounds["drafts"].sum()


def test_a_policy_keeps_its_colour_whoever_else_is_in_the_run() -> None:
    def entry(label: str, name: str) -> dict[str, str]:
        return {"label": label, "name": name}

    alone = colours([entry("wanspec", "wanspec")])
    crowd = colours([entry("mine", "mine"), entry("speculative", "speculative"), entry("wanspec", "wanspec")])
    assert alone["wanspec"] == crowd["wanspec"]
    twice = colours([entry("k=2", "wanspec"), entry("k=4", "wanspec")])
    assert len(set(twice.values())) == 2


def test_twenty_policies_have_twenty_different_lines() -> None:
    chosen = colours([{"label": f"p{n}", "name": "mine"} for n in range(20)])
    assert len({(chosen[label], str(dash)) for label, dash in dashes(chosen).items()}) == 20


def test_header_tells_models_devices_places_distance_and_prompts(page: str) -> None:
    head = " ".join(page[page.index('id="setting"') : page.index('id="regenerate"')].split())
    for text in (
        "target big (00ff00ff), draft small<", "target l40s/llama-3.1-8b, drafter l40s/llama-3.2-1b",
        "made-up-map: user us-east-1, target us-east-1, drafter us-east-2, worker RTT 15.0 ms (us-east-2)",
        "prose: 8 requests x 2 repeats a policy, 60 output tokens each", "relay (the kernel has no netem)",
        "made-up CPU, 2 cores, Linux 6.1",
    ):  # fmt: skip
        assert text in head, text


def test_header_gives_each_worker_site_its_distance_and_none_where_nobody_drafts_away() -> None:
    run = run_data()
    alone = RunData(**{**run.__dict__, "steps": run.steps[run.steps["node"] != "drafter0"]})
    assert header.worker_rtts_ms(run) == {"us-east-2": 15.0}
    assert header.worker_rtts_ms(alone) == {}
    counted = {**manifest()["scenario"], "place": {"user": {"us-east-1": 8}, "target": ["a", "b"], "drafter": None}}
    told = dict(header.facts(RunData(**{**alone.__dict__, "manifest": {**manifest(), "scenario": counted}})))
    assert told["Topology"] == "made-up-map: user 8 x us-east-1, target a and b"


def test_the_split_of_the_wait_is_a_family_of_the_table_with_its_formulas(page: str) -> None:
    table = page[page.index("Wait, split") : page.index(">Offload<")]
    headers = ["uplink", "queue", "compute", "downlink", "draft uplink", "draft downlink"]
    assert re.findall(r'title="[^"]+">([a-z ]+) <small>ms', table) == headers
    for tag in ("uplink_ms", "queue_ms", "compute_ms", "downlink_ms", "draft_uplink_ms", "draft_downlink_ms"):
        assert f"<dt><code>{tag}</code></dt>" in page


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.00"), (0.0012, "0.001"), (0.0123, "0.01"), (-0.004, "-0.004")])
def test_a_small_figure_is_not_shown_as_zero(value: float, text: str) -> None:
    assert number(value, "ms") == text


def test_trust_says_what_was_dropped_and_what_came_late_and_is_silent_where_a_run_did_not_count() -> None:
    run, usually = usual()
    summary = summarise(run, replace(COUNTS, dropped_packets=5, stale_messages=2))
    text = " ".join(validity_statement.statements(summary, run.manifest))
    assert "5 were dropped by full queues" in text and "2 arrived after their policy" in text
    clean = deepcopy(usually)
    assert "None was dropped" in " ".join(validity_statement.statements(clean, run.manifest))
    for name, count in (("links", "dropped_packets"), ("network", "stale_messages")):
        del clean[name][count]
    assert "dropped" not in " ".join(validity_statement.statements(clean, run.manifest))
