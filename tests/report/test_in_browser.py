"""The report in a browser: its figures are drawn, choices work, nothing is wider than the page, axe finds no fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.report.page import render
from tests.report.browser import axe, look, needs_browser
from tests.report.synthetic import usual

pytestmark = [needs_browser, pytest.mark.slow]

DRAWN = """() => ({
  figures: [...document.querySelectorAll(".vega")].map((at) => at.querySelectorAll("svg text, svg path").length),
  names: [...document.querySelectorAll(".vega")].map((at) => at.querySelector("[aria-label]")?.ariaLabel),
  wide: document.documentElement.scrollWidth - window.innerWidth,
  inner: window.innerWidth,
})"""


@pytest.fixture(scope="module")
def page() -> str:
    return render(*usual())


@pytest.mark.parametrize("width", [390, 768, 1400])
def test_every_figure_is_drawn_and_nothing_is_wider_than_the_page(page: str, tmp_path: Path, width: int) -> None:
    found = look(page, tmp_path, width, DRAWN)
    assert found["inner"] == width
    assert len(found["figures"]) == 6 and all(count > 3 for count in found["figures"])
    assert all(found["names"]), "every figure has a name for those who do not see it"
    assert found["wide"] <= 0


def test_a_policy_that_is_unchecked_leaves_every_figure_and_table(page: str, tmp_path: Path) -> None:
    probe = """async () => {
      const seen = () => [...document.querySelectorAll("#answer .vega, #why .vega")]
        .map((at) => [...at.querySelectorAll("text")].filter((one) => one.textContent === "wanspec").length);
      const cells = () => document.querySelectorAll('td[data-policy="wanspec"]:not([hidden])').length;
      const before = { seen: seen(), cells: cells() };
      document.querySelector('#policies input[value="wanspec"]').click();
      await new Promise((done) => setTimeout(done, 1500));
      return { before, after: { seen: seen(), cells: cells() } };
    }"""
    found = look(page, tmp_path, 1000, probe)
    assert all(found["before"]["seen"]) and found["before"]["cells"] > 20
    assert not any(found["after"]["seen"]) and found["after"]["cells"] == 0


def test_a_request_can_be_looked_at_nearer_and_whole(page: str, tmp_path: Path) -> None:
    probe = """async () => {
      const ends = () => [...document.querySelector("#requests .slot .vega").querySelectorAll(".role-axis-label text")]
        .map((one) => parseFloat(one.textContent.replace(",", ""))).filter((one) => !Number.isNaN(one));
      const span = () => { const all = ends(); return Math.max(...all) - Math.min(...all); };
      const spans = [span()];
      for (const zoom of ["0.5", "0"]) {
        document.querySelector(`#requests button[data-zoom="${zoom}"]`).click();
        await new Promise((done) => setTimeout(done, 1500));
        spans.push(span());
      }
      return spans;
    }"""
    first, nearer, whole = look(page, tmp_path, 1000, probe)
    assert nearer < first < whole


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_violation(page: str, tmp_path: Path, dark: bool) -> None:
    assert look(page, tmp_path, 1000, '() => matchMedia("(prefers-color-scheme: dark)").matches', "", dark) is dark
    probe = """async () => (await axe.run()).violations.map((one) =>
      [one.id, one.nodes.length, one.nodes[0].html.slice(0, 200), one.nodes[0].failureSummary.slice(0, 300)])"""
    assert look(page, tmp_path, 1000, probe, axe(), dark) == []
