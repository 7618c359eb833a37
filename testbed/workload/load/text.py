"""A load profile as the text of its file: numbers short, lists of them on filled lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from testbed.workload.load.profile import Profile, Quantiles

WIDTH = 118
INDENT = 4
SCHEMA = "# yaml-language-server: $schema=../../schemas/load.json\n"


def profile_text(profile: Profile) -> str:
    """What `read_profile` reads as the same profile."""
    source = profile.source.model_dump(exclude_defaults=True)
    lines = [f"description: {_said(profile.description)}", f"kind: {profile.kind}", "source:"]
    lines += [f"  {key}: {_said(value)}" for key, value in source.items()]
    if profile.starts is not None:
        lines.append(f"starts: {_said(profile.starts)}")
    lines += [f"clock: {profile.clock}", "streams:"]
    for stream in profile.streams:
        lines += [f"- name: {_said(stream.name)}", f"  gap_cv: {stream.gap_cv:.6g}"]
        if stream.gap_cv_by_step is not None:
            lines.append(_filled("  gap_cv_by_step: ", [f"{one:.4g}" for one in stream.gap_cv_by_step]))
        counts = [f"{one:.6g}" for one in stream.rate.requests]
        lines += ["  rate:", f"    step_s: {stream.rate.step_s:.9g}", _filled("    requests: ", counts)]
    lengths = profile.lengths
    lines += ["lengths:", *_quantiles("input", lengths.input), *_quantiles("output", lengths.output)]
    lines.append(f"  rank_correlation: {lengths.rank_correlation:g}")
    figures = [f"{key}: {value:.9g}" for key, value in profile.figures.items()]
    lines.append(_filled("figures: ", figures, "{}"))
    return "\n".join(lines) + "\n"


def _quantiles(key: str, given: Quantiles) -> list[str]:
    return [f"  {key}:", _filled("    quantiles: ", [f"[{share:g}, {tokens:g}]" for share, tokens in given.quantiles])]


def _filled(key: str, parts: Sequence[str], brackets: str = "[]") -> str:
    indent = " " * (len(key) - len(key.lstrip()) + 2)
    glued = [part.replace(" ", "\0") for part in parts]  # a pair is not broken
    text = textwrap.fill(f"{key}{brackets[0]}{', '.join(glued)}{brackets[1]}", WIDTH, subsequent_indent=indent)
    return text.replace("\0", " ")


def _said(value: Any) -> str:
    """As a YAML scalar, folded where it is long and of words that a line has room for."""
    text = str(value)
    words = text.split()
    if len(text) <= 80 or text != " ".join(words) or not text.isprintable() or max(map(len, words)) > WIDTH - INDENT:
        quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
        return quoted.removesuffix("\n")
    indent = " " * INDENT
    return ">-\n" + textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
