"""The report is one file that needs nothing else, shows every figure, and stamps a run that is not valid everywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from synthetic import COUNTS, POLICIES, manifest, records, run_data, write_run

from testbed.report.figures import timeline
from testbed.report.page import render, write_report
from testbed.report.style import colours
from testbed.results.metrics import policy_logs
from testbed.results.store import RunData, frame_of, load
from testbed.results.summary import summarise

FIGURES = 6


@pytest.fixture(scope="module")
def page() -> str:
    run = run_data()
    return render(run, summarise(run, COUNTS))


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


def test_report_is_the_same_bytes_for_the_same_run(page: str) -> None:
    run = run_data()
    assert render(run, summarise(run, COUNTS)) == page


def test_report_shows_every_figure_and_every_policy(page: str) -> None:
    assert parsed(page).tags.count("svg") == FIGURES
    assert all(f"</i>{policy}</th>" in page for policy in POLICIES)
    assert "48/48" in page and "<strong>VALID</strong>" in page and "RUN NOT VALID" not in page


def test_every_figure_of_a_run_that_is_not_valid_is_stamped() -> None:
    rows = records()
    rows["requests"][0] = msgspec.structs.replace(rows["requests"][0], lossless=False)
    run = run_data(rows)
    page = render(run, summarise(run, COUNTS))
    assert "<strong>NOT VALID</strong>" in page
    assert page.count("<!-- RUN NOT VALID -->") == FIGURES  # matplotlib names the text that it draws as paths


def test_report_is_written_from_the_run_directory_alone(tmp_path: Path) -> None:
    written = write_report(write_run(tmp_path / "run"))
    assert written == tmp_path / "run" / "report.html"
    run = load(tmp_path / "run")
    assert written.read_text(encoding="utf-8") == render(run, summarise(run, COUNTS))


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
