"""Headings of metrics where a table is 80 columns wide, one text per metric; where there is room: `Metric.header`."""

from __future__ import annotations

NARROW = {
    "tpot_ms": "TPOT\nms",
    "ttft_ms": "TTFT\nms",
    "e2e_ms": "e2e\nms",
    "tokens_per_round": "tok./\nround",
    "acceptance_rate": "accept\n-ance",
    "target_site_draft_passes": "drafts\nat\ntarget",
    "target_site_draft_ratio": "draft\nratio",
    "latency_ratio": "latency\nratio",
    "gpu_seconds": "device\ns",
    "draft_passes": "drafts\nevery-\nwhere",
    "wan_bytes": "kB\nbetween\nsites",
    "joules": "J",
    "cost": "cost",
}
