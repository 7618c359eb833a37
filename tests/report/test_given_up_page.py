"""A policy that gave losslessness up by choice is stamped at the top of the page, by name, and only there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.report.page import render
from testbed.results.summary import summarise
from tests.report.synthetic import COUNTS, run_data, usual_page


@pytest.mark.slow
def test_the_page_shows_the_stamp_with_the_policy_and_only_where_it_was_chosen() -> None:
    run = run_data()
    entries = run.manifest["policies"]
    chosen = [{**entries[0], "params": {**entries[0]["params"], "fall_back": 2}}, *entries[1:]]
    given_up = replace(run, manifest={**run.manifest, "policies": chosen})
    page = render(given_up, summarise(given_up, COUNTS))
    assert "<strong>NOT LOSSLESS BY CHOICE</strong>" in page
    assert f"<li>{entries[0]['label']}: emits unverified tokens (fall_back)" in page
    assert f"<li>{entries[1]['label']}: emits" not in page
    assert page.index("NOT LOSSLESS BY CHOICE") < page.index("<svg"), "before any figure"
    assert "NOT LOSSLESS BY CHOICE" not in usual_page()
