"""What became of the tests of the CWL suite, by tag and with the reason of each failure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ruamel.yaml import YAML

PASSED, FAILED, UNSUPPORTED = "passed", "failed", "unsupported"

KNOWN: dict[str, str] = {}
"""Reasons that a test's log does not say."""


@dataclass(frozen=True)
class Test:
    """A test of the suite: its number from 1, its id, its tags."""

    number: int
    name: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One test.

    :param name: its id
    :param tags: its tags; ``required`` is one
    :param state: passed, failed or unsupported
    :param reason: why it did not pass
    """

    name: str
    tags: tuple[str, ...]
    state: str
    reason: str = ""

    @property
    def is_required_failure(self) -> bool:
        """Whether it is required, and fails without a reason that no engine's code is to blame."""
        needs_container = "needs a container" in self.reason
        expected = needs_container or self.name in KNOWN
        return self.state != PASSED and "required" in self.tags and not expected


def read_tests(suite: Path) -> list[Test]:
    """The tests of a suite, in the order in which cwltest numbers them."""
    entries = _entries(suite / "conformance_tests.yaml")
    return [
        Test(number, entry.get("id") or entry["label"], tuple(entry.get("tags", ())))
        for number, entry in enumerate(entries, 1)
    ]


def _entries(path: Path) -> list[Any]:
    found = []
    for entry in YAML(typ="safe").load(path):
        if "$import" in entry:
            found += _entries(path.parent / entry["$import"])
        else:
            found.append(entry)
    return found


def read_results(path: Path, log: str, tests: list[Test]) -> list[Result]:
    """Read what ``cwltest --junit-xml`` wrote.

    :param log: cwltest's log: it tells of tests that ought to fail and do not; the file does not
    :param tests: those that were run; the file has them in this order, but under other names where
        they are not all
    """
    wrong = dict(re.findall(r"^Test (\d+) failed: .*\n.*\n(Returned zero .*)", log, re.MULTILINE))
    cases = ElementTree.parse(path).getroot().iter("testcase")
    results = []
    for test, case in zip(tests, cases, strict=True):
        state, reason = PASSED, ""
        if str(test.number) in wrong:
            state, reason = FAILED, wrong[str(test.number)]
        for kind, meaning in (("failure", FAILED), ("error", FAILED), ("skipped", UNSUPPORTED)):
            part = case.find(kind)
            if part is not None:
                told = case.findtext("system-err") or ""
                state, reason = meaning, _reason(told, part)
        if state != PASSED:
            reason = KNOWN.get(test.name, reason)
        results.append(Result(test.name, test.tags, state, reason))
    return results


def _reason(told: str, part: ElementTree.Element) -> str:
    """The last message of our commands; else what cwltest says."""
    begin = r"(?:d4pcwl-runner|cwl2d4p|dispel4py): (?:error: )?(?:PE \S+ failed on .*\n)?|PEError: "
    messages = re.findall(rf"^(?:{begin})(.+(?:\n  \S.*)?)$", told, re.MULTILINE)
    if messages:
        return re.sub(r"\s*\n\s*", ": ", re.sub(r"^\S+?:\d+: ", "", messages[-1]))
    return (part.text or part.attrib.get("message", "")).strip().splitlines()[-1][:200]


def write_summary(results: list[Result], tool: str, options: str, commit: str) -> str:
    """The summary as Markdown.

    :param tool: what was judged
    """
    total = Counter(result.state for result in results)
    tags = sorted({tag for result in results for tag in result.tags})
    tags.sort(key=lambda tag: tag != "required")
    lines = [
        f"# The CWL v1.2 conformance suite with {tool}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, d4pcwl {version('d4pcwl')} with cwltool's library "
        f"{version('cwltool')}, options `{options}`"
        + (f", suite at {commit}" if commit else "")
        + f": **{total[PASSED]} of {len(results)} tests pass**, {total[UNSUPPORTED]} are refused "
        f"with exit code 33, {total[FAILED]} fail. Written by `conformance/cwl/run`.",
        "",
        "| tag | tests | passed | unsupported | failed |",
        "|---|--:|--:|--:|--:|",
    ]
    for tag in tags:
        states = Counter(result.state for result in results if tag in result.tags)
        counts = (sum(states.values()), states[PASSED], states[UNSUPPORTED], states[FAILED])
        lines.append(f"| {tag} | " + " | ".join(map(str, counts)) + " |")
    others = [result for result in results if result.state != PASSED]
    if others:
        lines += ["", "| test | | reason |", "|---|---|---|"]
        for result in others:
            state = result.state + (", required" if "required" in result.tags else "")
            lines.append(
                f"| {result.name} | {state} | {result.reason.replace('|', chr(92) + '|')} |"
            )
    return "\n".join(lines) + "\n"
