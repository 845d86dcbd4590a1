"""What the documentation shows is run: commands, Python, the files that it lists, its links.

On a page, in order and in one copy of the examples:

- lines ``$ COMMAND`` of a ``console`` block run in one shell; the lines below a command, where
  there are any, are its output and its messages (``...`` stands for anything). A command that
  fails is followed by ``$ echo $?``;
- a ``pycon`` block is a doctest of its own, a ``python`` block a program of its own;
- a block of any kind whose first line is ``# FILE`` is written to that file.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "cwl_templates").glob("*.md"),
        *(ROOT / "examples").rglob("README.md"),
    ]
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "d4pcwl").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8") and "compat/names" not in path.as_posix()
)
TOLD = doctest.ELLIPSIS | doctest.REPORT_NDIFF
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
_NOT_RUN = re.compile(r"scripts/|\.ci/|pip install |git clone ")
_END = "=== end of command"


@dataclass(frozen=True)
class Command:
    """One command, and what the page shows below it."""

    text: str
    shown: str


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page: language and content."""
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield found[1], found[2]


def console(block: str) -> Iterator[Command]:
    """The commands of a console block."""
    lines = block.splitlines()
    while lines:
        line = lines.pop(0)
        assert line.startswith("$ "), f"a console block begins with a command: {line}"
        text = line[2:]
        while text.endswith("\\"):
            text += "\n" + lines.pop(0)
        shown: list[str] = []
        while lines and not lines[0].startswith("$ "):
            shown.append(lines.pop(0))
        yield Command(text, "\n".join(shown))


def commands(page: Path, folder: Path) -> Iterator[Command]:
    """What is to be run for a page."""
    for number, (language, content) in enumerate(blocks(page)):
        name = folder / f"block{number}"
        named = _FILE.match(content)
        if language == "console":
            yield from console(content)
        elif named:
            name.write_text(content[named.end() :].lstrip("\n"), encoding="utf-8")
            yield Command(f"cp {name} {named[1]}", "")
        elif language == "pycon":
            name.write_text(content, encoding="utf-8")
            yield Command(f"python -W error -m doctest -o ELLIPSIS {name}", "")
        elif language == "python":
            name.write_text(content, encoding="utf-8")
            yield Command(f"python -W error {name}", "")


def run_in_one_shell(texts: list[str], folder: Path) -> list[tuple[str, int]]:
    """Output (with messages) and exit code of each command."""
    script = "".join(
        f"{text}\nstatus=$?; printf '\\n{_END} %d\\n' $status; (exit $status)\n" for text in texts
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    parts = re.split(rf"\n{_END} (\d+)\n", done.stdout)
    return [(output, int(code)) for output, code in zip(parts[::2], parts[1::2], strict=False)]


def check_without_running(command: str) -> None:
    """That what a page tells people to run, and no test can, is there."""
    if command.startswith(("scripts/", ".ci/")):
        assert os.access(ROOT / command.split()[0], os.X_OK), command
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extras in re.findall(r"\[([\w,]+)\]", command):
        assert set(extras.split(",")) <= set(known), command


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what pages work on."""
    for name in ("examples", "cwl_templates"):
        unwanted = shutil.ignore_patterns("__pycache__", "*_data")
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=unwanted)
    return tmp_path / "copy"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_shows_is_so(page: Path, copy: Path, tmp_path: Path) -> None:
    every = list(commands(page, tmp_path))
    if any(command.text.startswith("cwltool") for command in every):
        pytest.importorskip("cwltool")
    for command in every:
        if _NOT_RUN.match(command.text):
            check_without_running(command.text)
    every = [command for command in every if not _NOT_RUN.match(command.text)]
    done = run_in_one_shell([command.text for command in every], copy)
    assert len(done) == len(every)
    for number, (command, (output, code)) in enumerate(zip(every, done, strict=True)):
        looked_at = [c.text for c in every[number + 1 : number + 2]] == ["echo $?"]
        assert (code != 0) == looked_at, f"$ {command.text}\n{output}\nexit code {code}"
        if command.shown.strip():
            want, got = command.shown.strip() + "\n", output.strip() + "\n"
            checker, example = doctest.OutputChecker(), doctest.Example(command.text, want)
            told = checker.check_output(want, got, TOLD)
            assert told, f"$ {command.text}\n{checker.output_difference(example, got, TOLD)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_of_the_project_are_shown_as_they_are(page: Path) -> None:
    for _, content in blocks(page):
        named = _FILE.match(content)
        if named and (ROOT / named[1]).exists():
            assert content[named.end() :].lstrip("\n") == (ROOT / named[1]).read_text()


def test_the_reader_in_the_docs_reads_stream_files(copy: Path, tmp_path: Path) -> None:
    (reader,) = (text for language, text in blocks(ROOT / "docs" / "stream-files.md") if language)
    use = (
        "import msgpack\n"
        "((pe, port, codec, payload),) = records('counts.d4ps')\n"
        "assert (pe, port, codec) == ('count', 'output', 'B')\n"
        "assert msgpack.unpackb(payload)[:2] == [list(range(9)), ['and', 2]], payload\n"
    )
    (tmp_path / "reader.py").write_text(reader + use)
    given = '{"read": [{"input": "text.txt"}]}'
    run = f"dispel4py simple word_count.py -d '{given}' --results counts.d4ps"
    done = run_in_one_shell([run, f"python {tmp_path}/reader.py"], copy / "examples" / "word_count")
    assert [code for _, code in done] == [0, 0], done


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    finally:
        sys.modules.pop("word_count", None)
    assert (failed, tried > 0) == (0, True)


def test_the_public_functions_have_examples() -> None:
    wanted = {"d4pcwl.runtime.run", "d4pcwl.runtime.results", "d4pcwl.cwl.compile"}
    assert wanted <= set(MODULES)


def test_the_readme_lists_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    install = (ROOT / "README.md").read_text().split("## Install")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in install.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {*project["optional-dependencies"]}


def test_the_citation_is_of_this_project() -> None:
    from d4pcwl.workflow.texts import parse_yaml

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = parse_yaml((ROOT / "CITATION.cff").read_text(), "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert (citation["type"], citation["title"].partition(":")[0]) == ("software", project["name"])
    for key in ("version", "license", "keywords", "authors"):
        assert citation[key] == project[key], key
