"""A report of hundreds of nodes: single links and nodes share rows and sentences, and drawing takes no longer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from testbed.report import page
from testbed.report.figures import during, links, pacing
from testbed.report.style import MOST_ROWS
from testbed.results.reasons import MOST_NAMED, some
from testbed.results.validity import judge
from tests.report.synthetic import COUNTS, run_data, usual, usual_page

SITES = {"here": 40, "there": 20}
PLACEMENT = {f"{site}{number}": site for site, count in SITES.items() for number in range(count)}


def many_links(late: frozenset[tuple[str, str]] = frozenset()) -> pd.DataFrame:
    """Of every pair and two checks; medians 0.01 ms off for each number of the node, links in `late` 5 ms off."""
    rows = []
    for phase in ("before", "after"):
        for src in PLACEMENT:
            for dst in PLACEMENT:
                if src == dst:
                    continue
                specified_ms = 1.0 if PLACEMENT[src] == PLACEMENT[dst] else 20.0
                off_ms = 5.0 if (src, dst) in late else 0.001 * int("".join(filter(str.isdigit, src)))
                of_users = src.endswith("e0")
                rows.append(
                    {
                        "phase": phase, "src": src, "dst": dst, "sent": 200, "received": 200,
                        "specified_ms": specified_ms, "median_ms": specified_ms + off_ms,
                        "p99_ms": specified_ms + 1.0 if of_users else float("nan"),
                        "one_way_specified_ms": specified_ms / 2, "one_way_median_ms": specified_ms / 2,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_links_between_two_sites_share_a_row_that_shows_the_worst_of_them() -> None:
    found = many_links()
    assert len(found) // 2 > MOST_ROWS and links.share_rows(found)
    rows = links.rows_of(found, PLACEMENT)
    assert len(rows) == 2 * len(SITES) ** 2
    assert rows["name"].iloc[0] == "here → here\n1 ms, 1560 links"
    here = rows[rows["name"].str.startswith("here → there")]
    assert here["specified_ms"].tolist() == [20.0, 20.0]
    assert here["least"].tolist() == pytest.approx([0.0, 0.0])
    assert here["greatest"].tolist() == pytest.approx([0.039, 0.039])
    assert here["middle"].tolist() == pytest.approx([0.0195, 0.0195])
    assert here["tail"].tolist() == pytest.approx([1.0, 1.0]), "of those that have a 99th percentile"


def test_few_links_have_a_row_each() -> None:
    run, _ = usual()
    rows = links.rows_of(run.links, run.manifest["node_placement"])
    assert rows["name"].drop_duplicates().tolist() == [
        f"{src} → {dst}\n{specified:g} ms"
        for src, dst, specified in run.links[["src", "dst", "specified_ms"]].drop_duplicates().itertuples(index=False)
    ]
    assert (rows["least"] == rows["greatest"]).all()


@pytest.mark.slow
def test_a_page_of_many_nodes_has_no_more_rows_than_can_be_read() -> None:
    run, summary = usual()
    steps = pd.concat([run.steps.assign(node=f"{node}") for node in PLACEMENT], ignore_index=True)
    assert pacing.share_rows(steps)
    manifest = {**run.manifest, "node_placement": run.manifest["node_placement"] | PLACEMENT}
    drawn = page.render(replace(run, links=many_links(), steps=steps, manifest=manifest), summary)
    assert page.LINKS_TOGETHER in drawn and page.PASSES_TOGETHER in drawn
    few = usual_page()
    assert page.LINKS_TOGETHER not in few and page.PASSES_TOGETHER not in few
    for figure in (links.draw(many_links(), PLACEMENT), pacing.draw(steps)):
        assert len(figure.axes[0].get_yticklabels()) <= MOST_ROWS


def test_dots_of_many_pairs_are_one_picture() -> None:
    probes = pd.DataFrame(
        {
            "policy": "one", "repeat": 0, "src": f"user{number % 30}", "dst": "target0", "sent_ns": number * 10**6,
            "specified_ms": 1.0, "rtt_ms": 1.0 + number % 7 / 100, "comparable": True,
        }
        for number in range(during.MOST_DOTS + 1)
    )  # fmt: skip
    (axes,) = during.draw(probes).axes
    dots, line, *_ = axes.lines
    assert len(np.asarray(dots.get_xdata())) == len(probes) and dots.get_rasterized()
    gaps = int(np.isnan(np.asarray(line.get_xdata(), float)).sum())
    assert gaps == 30, "a line stops where its pair ends"


def test_what_is_wrong_with_many_links_is_named_for_some_and_counted_for_all() -> None:
    late = frozenset((src, dst) for src in PLACEMENT for dst in PLACEMENT if src.startswith("here") and src != dst)
    run = run_data()
    manifest = {**run.manifest, "node_placement": run.manifest["node_placement"] | PLACEMENT}
    reasons = judge(replace(run, links=many_links(late), manifest=manifest), COUNTS).reasons
    named = [reason for reason in reasons if reason.startswith("link here")]
    assert len(named) == MOST_NAMED
    assert f"and {2 * len(late) - MOST_NAMED:,} more like these" in reasons
    assert len(some(["a"] * MOST_NAMED)) == MOST_NAMED
