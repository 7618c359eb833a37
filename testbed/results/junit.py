"""A run as JUnit XML, which CI services show: one test case for its validity, one for its losslessness, and one for
each assertion and policy.

Rule kept: what may not be concluded, because the run is not valid or did not finish, is an error or skipped, and never
a pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

from testbed.results.assertions import Judgement

Outcome = Literal["passed", "failure", "error", "skipped"]
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


@dataclass(frozen=True)
class Case:
    name: str
    outcome: Outcome
    said: str = ""
    seconds: float = 0.0


def cases(summary: Mapping[str, Any], judgements: Sequence[Judgement], seconds: float) -> list[Case]:
    """Of a run that finished after `seconds`."""
    validity, lossless = summary["validity"], summary["lossless"]
    reasons = "\n".join([*validity["reasons"], *validity.get("advice", ())])
    found = [Case("valid", "passed" if validity["valid"] else "error", reasons, seconds)]
    checked, equal = lossless["checked"], lossless["equal"]
    counted = f"{equal} of {checked} outputs equal target-only decoding"
    if checked:
        found.append(Case("lossless", "passed" if checked == equal else "failure", counted))
    outcomes: Mapping[bool | None, Outcome] = {True: "passed", False: "failure", None: "skipped"}
    found += [Case(f"{one.policy}: {one.assertion}", outcomes[one.holds], one.found) for one in judgements]
    return found


def unfinished(error: Exception, assertions: Sequence[str], seconds: float) -> list[Case]:
    """Of a run that ended with an error."""
    return [
        Case("valid", "error", str(error), seconds),
        *(Case(text, "skipped", "the run did not finish") for text in assertions),
    ]


def document(experiment: str, found: Sequence[Case], earlier: Sequence[str], properties: Mapping[str, str]) -> str:
    """The file's text. `earlier`: why attempts before this one did not count, one text each."""
    counts = {
        "tests": str(len(found)),
        **{f"{kind}s": str(sum(one.outcome == kind for one in found)) for kind in ("failure", "error")},
        "skipped": str(sum(one.outcome == "skipped" for one in found)),
        "time": f"{sum(one.seconds for one in found):.3f}",
    }
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(experiment), **counts})
    if properties:
        listed = ElementTree.SubElement(suite, "properties")
        for name, value in properties.items():
            ElementTree.SubElement(listed, "property", {"name": _xml(name), "value": _xml(value)})
    for one in found:
        names = {"classname": f"testbed.{_xml(experiment)}", "name": _xml(one.name), "time": f"{one.seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", names)
        if one.outcome == "passed":
            continue
        lines = one.said.splitlines() or [""]
        ElementTree.SubElement(case, one.outcome, {"message": _xml(lines[0])}).text = _xml(one.said)
    if earlier:
        told = [f"attempt {number} was not valid: {reason}" for number, reason in enumerate(earlier, start=1)]
        ElementTree.SubElement(suite, "system-out").text = _xml("\n".join(told))
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Without the characters that no XML file may hold."""
    return _NO_XML.sub("?", text)
