"""Latency distributions: one step curve per policy, end to end and per output token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.report.style import dashes, new_figure
from testbed.results.metrics import REGISTRY, PolicyLog
from testbed.results.metrics.base import SampleMetric


def draw(logs: Mapping[str, PolicyLog], colours: Mapping[str, str]) -> Figure:
    figure, (left, right) = new_figure(2.7, columns=2, sharey=True)
    _curves(left, "e2e_ms", "end-to-end time (ms)", logs, colours)
    _curves(right, "tpot_ms", "time per output token (ms)", logs, colours)
    left.set_ylabel("share of requests")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def _curves(axes: Axes, tag: str, title: str, logs: Mapping[str, PolicyLog], colours: Mapping[str, str]) -> None:
    metric = REGISTRY[tag]
    assert isinstance(metric, SampleMetric)
    styles = dashes(colours)
    for label, log in logs.items():
        samples: pd.Series[Any] | None = metric.samples(log)
        if samples is None or samples.dropna().empty:
            continue
        values = np.sort(samples.dropna().to_numpy(float))
        shares = np.arange(1, len(values) + 1) / len(values)
        axes.step(
            np.concatenate([values[:1], values]), np.concatenate([[0.0], shares]), where="post",
            color=colours[label], linestyle=styles[label], label=label,
        )  # fmt: skip
    axes.set_xlabel(title)
    axes.set_ylim(0, 1.02)
    axes.margins(x=0.04)
