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
from testbed.report.figures import timeline
from testbed.report.page import number, render, write_report
from testbed.report.style import colours
from testbed.results.metrics import policy_logs
from testbed.results.store import RunData, frame_of
from testbed.results.summary import summarise
from tests.report.synthetic import COUNTS, POLICIES, manifest, records, run_data, usual, write_run

FIGURES = 6


@pytest.fixture(scope="module")
def page() -> str:
    return render(*usual())


class Links(HTMLParser):
    """Collects everything a browser might fetch, and every tag that was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "action") or name.endswith("href"):
                self.fetched.append(value or "")


def parsed(page: str) -> Links:
    links = Links()
    links.feed(page)
    return links


def test_report_asks_the_network_for_nothing(page: str) -> None:
    links = parsed(page)
    assert all(target.startswith("#") for target in links.fetched), "only references inside the page"
    assert not {"script", "link", "iframe", "img"} & set(links.tags)
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


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
    assert page.count("<!-- NOT VALID -->") == FIGURES  # matplotlib names the text that it draws as paths


def test_every_figure_of_a_simulation_is_stamped_and_so_is_the_page() -> None:
    run = run_data()
    simulated = replace(run, manifest={**run.manifest, "engine": "simulation"})
    page = render(simulated, summarise(simulated, COUNTS))
    assert "<strong>SIMULATED</strong>" in page and "(SIMULATED)</title>" in page
    assert page.count("<!-- SIMULATED -->") == FIGURES - 1, "a simulation has no figure of pacing"
    assert "<!-- SIMULATED -->" not in render(*usual())


def test_report_is_written_from_the_run_directory_alone(page: str, tmp_path: Path) -> None:
    written = write_report(write_run(tmp_path / "run"))
    assert written == tmp_path / "run" / "report.html"
    assert written.read_text(encoding="utf-8") == page


@pytest.mark.slow
def test_text_from_the_experiment_is_escaped() -> None:
    run = run_data()
    hostile = RunData(**{**run.__dict__, "manifest": {**manifest(), "experiment": "<script>alert(1)</script>"}})
    assert "<script>" not in render(hostile, summarise(hostile, COUNTS))


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


def test_timeline_shows_the_same_prompt_under_the_policy_and_its_baseline() -> None:
    logs = policy_logs(run_data())
    prompt, shown = timeline.choose(logs)
    assert [one.label for one in shown] == ["speculative", "wanspec"]
    e2e = logs["wanspec"].requests
    durations = (e2e["finished_ns"] - e2e["sent_ns"]).sort_values(kind="stable")
    median = durations.index[(len(durations) - 1) // 2]
    assert prompt == e2e.loc[median, "prompt_id"]
    assert shown[1].origin_ns == e2e.loc[median, "sent_ns"]


def test_a_policy_keeps_its_colour_whoever_else_is_in_the_run() -> None:
    def entry(label: str, name: str) -> dict[str, str]:
        return {"label": label, "name": name}

    alone = colours([entry("wanspec", "wanspec")])
    crowd = colours([entry("mine", "mine"), entry("speculative", "speculative"), entry("wanspec", "wanspec")])
    assert alone["wanspec"] == crowd["wanspec"]
    twice = colours([entry("k=2", "wanspec"), entry("k=4", "wanspec")])
    assert len(set(twice.values())) == 2


def test_header_tells_models_devices_places_distance_and_prompts(page: str) -> None:
    head = " ".join(page[page.index("<header>") : page.index("</header>")].split())
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
