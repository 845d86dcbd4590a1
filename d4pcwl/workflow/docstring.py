"""The parts of a docstring: its title, its text, and a text for each parameter.

Three styles are known: ``:param NAME: …``, a section ``Args:`` (Google's), and a section
``Parameters`` that is underlined (numpy's).
"""

from __future__ import annotations

import re
import textwrap

_FIELD = re.compile(r":(?P<kind>\w+)(?:\s+(?P<words>[^:]*))?:\s?(?P<text>.*)")
_GOOGLE = re.compile(r"(?P<name>\*{0,2}\w+)\s*(?:\([^)]*\))?:\s?(?P<text>.*)")
_NUMPY = re.compile(r"(?P<name>\w+(?:\s*,\s*\w+)*)\s*(?::.*)?")
_SECTION = re.compile(r"(Args|Arguments|Parameters|Params|Keyword Args|Other Parameters)\s*:")
_OTHER = re.compile(
    r"(Returns?|Yields?|Raises|Examples?|Notes?|Warnings?|See Also|References|Attributes)\s*:"
)


def described(doc: str) -> tuple[str, str, dict[str, str]]:
    """The title of a docstring, the rest of its text, and the texts of parameters by name.

    :param doc: without the indentation of the source, as ``inspect.getdoc`` gives it
    """
    text: list[str] = []
    found: dict[str, list[str]] = {}
    style, into = "", None  # of the section that we are in; the text that goes on
    lines = doc.splitlines()
    for number, line in enumerate(lines):
        underlined = _is_underline(lines, number + 1)
        indented = line.startswith((" ", "\t"))
        if match := _FIELD.match(line):
            style, into = "field", None
            if match["kind"] in ("param", "parameter", "arg", "argument", "key", "keyword"):
                into = found.setdefault((match["words"] or "").split(" ")[-1].strip("*"), [])
                into.append(match["text"])
        elif underlined or _SECTION.fullmatch(line) or _OTHER.fullmatch(line):
            ours = _SECTION.fullmatch(line.rstrip(":") + ":")
            style, into = ("numpy" if underlined else "google") if ours else "other", None
        elif _is_underline(lines, number) and style:
            continue
        elif (
            style == "google"
            and (match := _GOOGLE.fullmatch(line.strip()))
            and _is_entry(lines, number)
        ):
            into = found.setdefault(match["name"].strip("*"), [])
            into.append(match["text"])
        elif style == "numpy" and not indented and (match := _NUMPY.fullmatch(line.strip())):
            into = []
            found.update(dict.fromkeys(re.split(r"\s*,\s*", match["name"]), into))
        elif style in ("field", "google") and line.strip() and not indented:
            style, into = "", None
            text.append(line)
        elif into is not None:
            into.append(line.strip())
        elif not style:
            text.append(line)
    title, _, rest = "\n".join(text).strip().partition("\n")
    texts = {name: " ".join(filter(None, map(str.strip, parts))) for name, parts in found.items()}
    return title.strip(), textwrap.dedent(rest).strip(), texts


def _is_underline(lines: list[str], number: int) -> bool:
    return 0 < number < len(lines) and bool(re.fullmatch(r"\s*-{3,}\s*", lines[number]))


def _is_entry(lines: list[str], number: int) -> bool:
    """Whether a line of a section of Google's style is indented as the first entry."""
    first = number
    while first > 0 and (lines[first - 1].startswith((" ", "\t")) or not lines[first - 1].strip()):
        first -= 1
    while not lines[first].strip():
        first += 1
    return _indent(lines[number]) == _indent(lines[first])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
