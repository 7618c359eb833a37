"""ServeGen's files as a profile: for each client the rate in ten-minute windows, and what its lengths were.

`chunk-N-trace.csv` has no header: seconds, requests a second, coefficient of variation of the gaps, the family fitted
to them and its two parameters. `chunk-N-dataset.json` beside it has distributions of lengths for some of the windows,
Python's text of a dictionary each. A folder of them is a service; one trace file is one client. What the families' gaps
are like is kept by their coefficient of variation. Lengths are those of all clients, by their numbers of requests.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from testbed.errors import BadInput
from testbed.files.numbers import number
from testbed.files.reading import as_text, csv_rows, decode_json, read_bytes, read_text, refuse_file, shown
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import filling, said
from testbed.files.yamltext import KeyPath
from testbed.workload.load.fit import SHARES
from testbed.workload.load.profile import MOST_LENGTH, Lengths, LoadSource, Profile, Quantiles, Rate, Stream

FAMILIES = ("Expon", "Exponential", "Gamma", "Weibull", "Pareto", "Lognorm", "")
TRACE, DATASET = "-trace.csv", "-dataset.json"
MOST_CV = 100.0
MOST_SHARE = 1.01  # rounded up
SOURCE = LoadSource(
    citation="Y. Xiang et al., ServeGen: Workload Characterization and Generation of LLM Serving in Production, "
    "arXiv:2505.09999",
    licence="Apache-2.0, as the repository alibaba/ServeGen says",
    date="not published",
    changes="clients added up; gaps as even as the fitted families are",
)
_ENTRY = re.compile(r"\s*([0-9.eE+-]+)\s*:\s*([0-9.eE+-]+)\s*")


class Window(NamedTuple):
    line: int
    at_s: float
    rate: float
    cv: float


def is_servegen(path: Path) -> bool:
    """Whether a path is that of ServeGen's files, by what it holds."""
    if path.is_dir():
        return any(path.glob(f"*{TRACE}"))
    return path.suffix == ".csv" and _headless(read_text(path).lstrip("\n").partition("\n")[0])


def _headless(line: str) -> bool:
    cells = [cell.strip() for cell in line.split(",")]
    return len(cells) == 6 and cells[3] in FAMILIES and cells[0].replace(".", "", 1).isdigit()


def read_servegen(path: Path) -> Profile:
    """A folder of chunks, or one client's trace. Raises BadInput with file, line and fix."""
    files = sorted(path.glob(f"*{TRACE}")) if path.is_dir() else [path]
    clients = {file: _windows(file) for file in files}
    step_s, steps = _steps(clients)
    streams = []
    inputs: Counter[int] = Counter()
    outputs: Counter[int] = Counter()
    for file, windows in clients.items():
        if not any(one.rate for one in windows):
            continue
        lines: dict[KeyPath, int] = {("requests", number_): one.line for number_, one in enumerate(windows)}
        with filling(file, Rate, lines):
            rate = Rate(step_s=step_s, requests=tuple(one.rate * step_s for one in windows))
        cvs = tuple(min(one.cv, MOST_CV) if one.rate else 1.0 for one in windows)
        with filling(file, Stream):
            streams.append(Stream(name=shown(file.name.removesuffix(TRACE)), rate=rate, gap_cv_by_step=cvs))
        dataset = file.with_name(file.name.removesuffix(TRACE) + DATASET)
        if dataset.is_file():
            _add_lengths(dataset, windows, step_s, inputs, outputs)
    if not streams:
        refuse_file(path, "no client has any requests")
    if not inputs.total() or not outputs.total():
        refuse_file(
            path, f"there are no lengths: put NAME{DATASET} beside NAME{TRACE}, with input_tokens and output_tokens"
        )
    with filling(path, Profile):
        return Profile(
            description=f"ServeGen {shown(path.name)}: {len(streams)} clients, {steps * step_s / 3600:g} hours",
            kind="measured", source=SOURCE, streams=tuple(streams),
            lengths=Lengths(input=_quantiles(inputs), output=_quantiles(outputs)),
        )  # fmt: skip


def _windows(path: Path) -> list[Window]:
    windows: list[Window] = []
    refusals = Refusals(path)
    for line, cells in csv_rows(as_text(read_bytes(path), path), path):
        with refusals.one():
            if len(cells) != 6:
                refuse_file(path, f"{len(cells)} fields, not the 6 of seconds,rate,cv,family,parameter,parameter", line)
            if cells[3] not in FAMILIES:
                refuse_file(path, f"family {said(cells[3])} is none of {', '.join(FAMILIES[:-1])}", line)
            values = []
            for what, cell in zip(("seconds", "rate", "cv"), cells, strict=False):
                try:
                    values.append(number(cell))
                except ValueError as error:
                    refuse_file(path, f"{what} {said(cell)}: {error}", line)
                if values[-1] < 0:
                    refuse_file(path, f"{what} is {cell}; it cannot be negative", line)
            if windows and values[0] <= windows[-1].at_s:
                refuse_file(path, f"{values[0]:g} s is not after the window before it; sort the file", line)
            windows.append(Window(line, *values))
    refusals.settle()
    if not windows:
        refuse_file(path, "holds no windows")
    return windows


def _steps(clients: Mapping[Path, list[Window]]) -> tuple[float, int]:
    """Length and number of the windows, the same for all clients."""
    first, windows = next(iter(clients.items()))
    step_s = windows[1].at_s - windows[0].at_s if len(windows) > 1 else 600.0
    for path, own in clients.items():
        if len(own) != len(windows):
            refuse_file(path, f"has {len(own)} windows, {first.name} has {len(windows)}; all clients need the same")
        for number_, one in enumerate(own):
            if not math.isclose(one.at_s - own[0].at_s, number_ * step_s, abs_tol=1e-6):
                refuse_file(path, f"windows are not evenly {step_s:g} s apart", one.line)
    return step_s, len(windows)


def _add_lengths(path: Path, windows: list[Window], step_s: float, inputs: Counter[int], outputs: Counter[int]) -> None:
    """Adds this client's lengths, each as often as it had requests while they held."""
    found = decode_json(as_text(read_bytes(path), path), path, None, "ServeGen's lengths by second")
    if not isinstance(found, dict):
        refuse_file(path, "is not ServeGen's lengths: an object of distributions by second is expected")
    held = sorted(((_second(path, key), one) for key, one in found.items()), key=lambda pair: pair[0])
    for place, (begin_s, one) in enumerate(held):
        end_s = held[place + 1][0] if place + 1 < len(held) else math.inf
        asked = sum(window.rate * step_s for window in windows if begin_s <= window.at_s < end_s)
        if not isinstance(one, dict):
            refuse_file(path, f"at {begin_s:g} s: an object with input_tokens and output_tokens is expected")
        for kinds, total in ((("input_tokens", "text_tokens"), inputs), (("output_tokens",), outputs)):
            given = next((one[kind] for kind in kinds if kind in one), None)
            if given is None:
                refuse_file(path, f"at {begin_s:g} s: {kinds[0]} is missing")
            for tokens, share in _distribution(path, begin_s, given).items():
                total[tokens] += round(share * asked * 1000)  # thousandths of requests: counts are whole numbers


def _second(path: Path, text: str) -> float:
    try:
        return number(text)
    except ValueError as error:
        refuse_file(path, f"key {said(text)}: {error}; keys are seconds")


def _distribution(path: Path, begin_s: float, given: Any) -> dict[int, float]:
    """Tokens to share, from an object or from Python's text of a dictionary."""
    if isinstance(given, dict):
        entries = [(str(tokens), str(share)) for tokens, share in given.items()]
    elif isinstance(given, str) and given.strip()[:1] == "{" and given.strip()[-1:] == "}":
        parts = [part for part in given.strip()[1:-1].split(",") if part.strip()]
        matches = [_ENTRY.fullmatch(part) for part in parts]
        entries = [(match[1], match[2]) for match in matches if match is not None]
        if len(entries) != len(parts):
            _refuse(path, begin_s, f"{said(parts[matches.index(None)])} is not TOKENS: SHARE")
    else:
        _refuse(path, begin_s, f"{said(given)} is no distribution")
    found: dict[int, float] = {}
    for tokens, share in entries:
        try:
            length, part = number(tokens), number(share)
        except ValueError as error:
            raise BadInput(f"{shown(path)}: at {begin_s:g} s: {said(tokens)}: {said(share)}: {error}") from error
        if not 0 <= length <= MOST_LENGTH:
            _refuse(path, begin_s, f"{tokens} tokens; write 0 to {MOST_LENGTH}")
        if not 0 <= part <= MOST_SHARE:
            _refuse(path, begin_s, f"{tokens} tokens have a share of {share}; write 0 to 1")
        found[round(length)] = part
    return found


def _refuse(path: Path, begin_s: float, problem: str) -> NoReturn:
    refuse_file(path, f"at {begin_s:g} s: {problem}")


def _quantiles(counts: Counter[int]) -> Quantiles:
    """Of lengths that occur so often; at least one token each."""
    lengths = sorted(counts)
    total = sum(counts.values())
    knots, below, place = [], 0, 0
    for share in SHARES:
        while place < len(lengths) - 1 and below + counts[lengths[place]] < share * total:
            below += counts[lengths[place]]
            place += 1
        knots.append((share, float(max(1, lengths[-1] if share == 1 else lengths[place]))))
    return Quantiles(quantiles=tuple(knots))
