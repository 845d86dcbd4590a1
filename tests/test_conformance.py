"""The conformance runs: whether differences are found; the cases, the tables, and a quick run."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from d4pcwl.runtime.mappings.registry import BUILT_IN

CONFORMANCE = Path(__file__).parents[1] / "conformance"
pytestmark = pytest.mark.skipif(
    not CONFORMANCE.exists(), reason="the conformance runs are not here"
)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the conformance runs."""
    monkeypatch.syspath_prepend(str(CONFORMANCE))
    import cases
    import compare
    import crossing
    import runs
    import selection
    import table
    import verdict

    return SimpleNamespace(
        cases=cases,
        compare=compare,
        crossing=crossing,
        runs=runs,
        selection=selection,
        table=table,
        verdict=verdict,
    )


# --- comparing ------------------------------------------------------------------------------------


def outcome(parts: Any, *items: Any, port: str = "output", **files: bytes) -> Any:
    """What a run gave: items of ``pe.PORT``, and the files of the output ``out``."""
    made = parts.compare.Outcome()
    lines = [json.dumps({"pe": "pe", "port": port, "data": item}) for item in items]
    made.add_results("\n".join(lines))
    if files:
        made.files["out"] = dict(files)
    return made


def test_equal_outcomes_do_not_differ(parts: Any) -> None:
    one = outcome(parts, 1, {"b": [None], "a": 2}, a=b"text")
    other = outcome(parts, 1, {"a": 2, "b": [None]}, a=b"text")
    assert parts.compare.differences(one, other, ["pe.output"]) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([1, 2, 4], r"1 lost: 3; 1 too many: 4"),
        ([1, 2], r"1 lost: 3$"),
        ([1, 2, 3, 3], r"1 too many: 3$"),
        ([], r"3 lost: 1, 2, 3$"),
        ([1, 2, 3.0], r"1 lost: 3; 1 too many: 3\.0"),
        ([1, 2, "3"], r"1 lost: 3; 1 too many: \"3\""),
        ([True, 2, 3], r"1 lost: 1; 1 too many: true"),
    ],
)
def test_a_difference_of_items_is_found(parts: Any, found: list[Any], said: str) -> None:
    (line,) = parts.compare.differences(outcome(parts, 1, 2, 3), outcome(parts, *found))
    assert re.search(rf"^pe\.output: {said}", line)


def test_order_counts_where_it_holds(parts: Any) -> None:
    one, other = outcome(parts, 1, 2, 3), outcome(parts, 1, 3, 2)
    assert parts.compare.differences(one, other) == []
    (line,) = parts.compare.differences(one, other, ["pe.output"])
    assert line == "pe.output: another order from item 2 on: 2 was expected, 3 came"


def test_the_same_items_at_another_output_are_a_difference(parts: Any) -> None:
    found = parts.compare.differences(outcome(parts, 1), outcome(parts, 1, port="other"))
    assert found == ["pe.other: 1 too many: 1", "pe.output: 1 lost: 1"]


def test_an_item_without_a_likeness_is_not_its_text(parts: Any) -> None:
    one, other = outcome(parts, "x"), parts.compare.Outcome()
    other.add_results('{"pe": "pe", "port": "output", "repr": "x"}')
    assert parts.compare.differences(one, other)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "out/a: is missing"),
        ({"a": b"1\n2\n", "b": b""}, "out/b: was not expected"),
        ({"a": b"1\n3\n"}, "out/a: line 2 differs: '2' was expected, '3' came"),
        ({"a": b"1\n2\n3"}, "out/a: line 3 differs: '' was expected, '3' came"),
        ({"a": b"1\n2"}, "out/a: 3 lines were expected, 2 came"),
    ],
)
def test_a_difference_of_files_is_found(parts: Any, found: dict[str, bytes], said: str) -> None:
    given = parts.compare.differences(outcome(parts, a=b"1\n2\n"), outcome(parts, **found))
    assert given == [said]


def test_content_that_may_differ_has_to_be_there(parts: Any) -> None:
    compare = parts.compare.differences
    assert compare(outcome(parts, a=b"1"), outcome(parts, a=b"2"), (), ["out/*"]) == []
    assert compare(outcome(parts, a=b"1"), outcome(parts), (), ["out/*"]) == ["out/a: is missing"]


def test_a_folder_is_all_that_is_in_it(parts: Any, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_text("text")
    (tmp_path / "deep" / "other").write_text("")
    found = parts.compare.Outcome()
    found.add_files("out", [tmp_path / "deep"])
    assert found.files == {"out": {"er/file": b"text", "other": b""}}


def test_lost_printed_lines_are_found(parts: Any) -> None:
    one = parts.compare.Outcome(printed=["a", "a"])
    other = parts.compare.Outcome(printed=["a"])
    assert parts.compare.differences(one, other) == ["printed: 1 lost: a"]


# --- cases ----------------------------------------------------------------------------------------


def test_the_cases_cover_all_there_is(parts: Any) -> None:
    cases = parts.cases.read_cases()
    assert {name for case in cases for name in case.covers} == set(parts.cases.FEATURES)


def test_every_folder_of_workflows_is_a_case(parts: Any) -> None:
    folders = {path.name for path in parts.cases.WORKFLOWS.iterdir() if path.is_dir()}
    assert {case.name for case in parts.cases.read_cases()} == folders


def test_all_faults_of_a_case_are_told(parts: Any, tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_text('covers = ["everything"]\ncutt = ""\nrefused = {all = ""}')
    with pytest.raises(parts.cases.CaseError) as caught:
        parts.cases.read_case(tmp_path)
    told = str(caught.value)
    for fault in ("'cutt'", "title is missing", "cut is missing", "'everything'", "'all'"):
        assert fault in told


def test_a_refusal_may_be_an_engines_own(parts: Any) -> None:
    (case,) = parts.cases.read_cases(["own_classes"])
    assert "no plain form" in case.refusal("toil", "cut")
    assert "FAILED Job" in case.refusal("streamflow", "cut")
    assert case.refusal("streamflow", "whole") is None


def test_paths_in_inputs_are_seen_from_the_case(parts: Any, tmp_path: Path) -> None:
    case = parts.cases.read_cases(["word_count"])[0]
    item = {"path": "of the item's own", "more": 2}
    value = [{"input": {"path": "text.txt"}}, {"class": "File", "prepared": "a"}, item]
    assert case.given(value, tmp_path) == [
        {"input": str(case.folder / "text.txt")},
        {"class": "File", "path": str(tmp_path / "a")},
        item,
    ]


# --- what is run ----------------------------------------------------------------------------------


def test_the_full_cross_has_all(parts: Any) -> None:
    cells = parts.selection.choose(["a", "b"], mappings=list(BUILT_IN), full=True)
    places = 1 + len(parts.cases.ENGINES) * len(parts.cases.FORMS)
    assert len(set(cells)) == len(cells) == 2 * len(BUILT_IN) * places


def test_the_usual_selection_has_every_mapping_natively_and_on_cwltool(parts: Any) -> None:
    cells = parts.selection.choose(["a"], mappings=list(BUILT_IN))
    for place, form in (("native", ""), ("cwltool", "whole")):
        assert {c.mapping for c in cells if (c.place, c.form) == (place, form)} == set(BUILT_IN)
    simple = {(c.place, c.form) for c in cells if c.mapping == "simple" and c.form}
    assert simple == {
        (engine, form) for engine in parts.cases.ENGINES for form in parts.cases.FORMS
    }


def crossed(parts: Any, folder: Path, script: str, told: str, form: str = "") -> Any:
    """The verdict on a case made here, natively or, with a form, on cwltool."""
    place = folder / "flow"
    place.mkdir()
    (place / "flow.py").write_text(script)
    (place / "case.toml").write_text(f'title = "a case"\ncovers = []\n{told}')
    case = parts.cases.read_case(place)
    crossing = parts.crossing.Crossing(parts.runs.Bench(folder / "work"), [case], 1)
    cell = parts.verdict.Cell("flow", "cwltool" if form else "native", form, "simple")
    return crossing.run([cell])[cell]


FLOW = """\
import os, sys
from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph

class Source(ProducerPE):
    def _process(self, inputs):
        for number in range(3):
            self.write("output", number)

class Work(IterativePE):
    def _process(self, item):
        {work}

graph = WorkflowGraph()
source, work = Source(), Work()
source.name, work.name = "source", "work"
graph.connect(source, "output", work, "input")
"""
CUT = 'cut = "source.output"\n'


def test_a_workflow_that_gives_something_else_each_time_fails(parts: Any, tmp_path: Path) -> None:
    verdict = crossed(parts, tmp_path, FLOW.format(work="return os.getpid()"), CUT)
    assert verdict.kind is parts.verdict.Kind.FAIL
    assert re.search(r"^work\.output: 3 lost: .*; 3 too many: ", verdict.reason)


def test_a_workflow_that_gives_nothing_is_no_reference(parts: Any, tmp_path: Path) -> None:
    verdict = crossed(parts, tmp_path, FLOW.format(work="pass"), CUT)
    assert verdict.kind is parts.verdict.Kind.FAIL
    assert "nothing that could be compared" in verdict.reason


def test_what_cwl_does_otherwise_is_seen(parts: Any, tmp_path: Path) -> None:
    pytest.importorskip("cwltool")
    work = 'return -item if "--results" in sys.argv and "--stage" in sys.argv else item'
    verdict = crossed(parts, tmp_path, FLOW.format(work=work), CUT, "cut")
    assert verdict.kind is parts.verdict.Kind.FAIL
    assert verdict.reason == "work.output: 2 lost: 1, 2; 2 too many: -1, -2"


def test_a_refusal_that_nobody_expects_is_a_failure(parts: Any, tmp_path: Path) -> None:
    script = FLOW.format(work="return item")
    verdict = crossed(parts, tmp_path, script, 'cut = "source.outptu"\n', "cut")
    assert verdict.kind is parts.verdict.Kind.FAIL
    assert "did you mean" in verdict.reason


def test_a_refusal_for_another_reason_is_a_failure(parts: Any, tmp_path: Path) -> None:
    told = 'cut = "source.outptu"\nrefused = { cut = "keeps state" }\n'
    verdict = crossed(parts, tmp_path, FLOW.format(work="return item"), told, "cut")
    assert verdict.kind is parts.verdict.Kind.FAIL


def test_a_refusal_that_does_not_come_is_a_failure(parts: Any, tmp_path: Path) -> None:
    pytest.importorskip("cwltool")
    told = CUT + 'refused = { cut = "keeps state" }\n'
    verdict = crossed(parts, tmp_path, FLOW.format(work="return item"), told, "cut")
    assert verdict.kind is parts.verdict.Kind.FAIL
    assert verdict.reason == "it was to be refused: keeps state"


def test_an_expected_refusal_is_none(parts: Any, tmp_path: Path) -> None:
    told = 'cut = "source.outptu"\nrefused = { cut = "no edge is there" }\n'
    verdict = crossed(parts, tmp_path, FLOW.format(work="return item"), told, "cut")
    assert verdict.kind is parts.verdict.Kind.REFUSED
    assert "no edge is there; did you mean" in verdict.reason


def test_what_is_not_installed_is_skipped(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parts.cases.MODULES, "arrays", ("no_such_module",))
    told = CUT + 'extras = ["arrays"]\n'
    verdict = crossed(parts, tmp_path, FLOW.format(work="return item"), told)
    assert verdict == parts.verdict.Verdict(parts.verdict.Kind.SKIPPED, "no no_such_module")


# --- tables ---------------------------------------------------------------------------------------


@pytest.fixture
def report(parts: Any) -> Any:
    cases = {case.name: case for case in parts.cases.read_cases(["ticks", "word_count"])}
    kind, cell, verdict = parts.verdict.Kind, parts.verdict.Cell, parts.verdict.Verdict
    verdicts = {
        cell("ticks", "native", "", "simple"): parts.verdict.PASSED,
        cell("ticks", "native", "", "mpi"): verdict(kind.SKIPPED, "no mpi4py"),
        cell("word_count", "native", "", "mpi"): verdict(kind.SKIPPED, "no mpi4py"),
        cell("ticks", "toil", "cut", "simple"): verdict(kind.FAIL, "lost: <1> & | more\nand so on"),
        cell("ticks", "toil", "sharded", "simple"): verdict(kind.REFUSED, "it keeps state"),
    }
    return parts.table.Report(cases, verdicts, {"toil": "9.6"}, "2026-11-21")


def test_markdown_has_every_cell_and_reason(report: Any) -> None:
    text = report.markdown()
    assert "2026-11-21; toil 9.6." in text
    assert "5 cells: 1 pass, 1 fail, 1 refused, 2 skipped." in text
    assert "| workflow | simple | mpi |\n|---|---|---|\n| ticks | pass | skipped (1) |\n" in text
    assert "| word_count |  | skipped (1) |" in text
    assert "| workflow | toil cut | toil sharded |" in text
    assert "| ticks | **fail** (2) | refused (3) |" in text
    assert "2.\n\n    lost: <1> & | more\n    and so on\n" in text


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.classes: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag != "meta":
            self.open.append(tag)
        self.ids.update(filter(None, [found.get("id")]))
        self.links += filter(None, [found.get("href")])
        self.classes += filter(None, [found.get("class")])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_and_its_links_lead_somewhere(report: Any) -> None:
    page = Page(report.html())
    assert not page.open
    assert len(page.links) == 4
    assert {link.removeprefix("#") for link in page.links} == page.ids
    assert sorted(page.classes) == ["fail", "pass", "refused", "skipped", "skipped"]


def test_tables_are_written_whole(parts: Any, report: Any, tmp_path: Path) -> None:
    parts.table.write_tables(report, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["table.html", "table.md"]
    assert (tmp_path / "new" / "table.md").read_text() == report.markdown()


# --- the command ----------------------------------------------------------------------------------


def start(*arguments: object, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CONFORMANCE / "run"), *map(str, arguments)],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "nothing"], "no workflow nothing; there are "),
        (["--mappings", "simpel"], "no simpel; there are simple, "),
        (["--engines", "cwltool,tool"], "no tool; there are d4pcwl-runner, cwltool, "),
        (["--forms", ""], "there are whole, cut, sharded"),
        (["--quick", "--full"], "exclude each other"),
        (["-j", "0"], "at least 1"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], said: str) -> None:
    process = start(*arguments)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in told


def test_a_quick_run_is_green(tmp_path: Path) -> None:
    pytest.importorskip("cwltool")
    faulthandler.cancel_dump_traceback_later()  # three engines on a busy machine take their time
    (tmp_path / "tmp").mkdir()
    process = start("--quick", "-o", tmp_path / "tables", TMPDIR=str(tmp_path / "tmp"))
    table, progress = process.communicate(timeout=900)
    assert process.returncode == 0, progress + table
    assert (tmp_path / "tables" / "table.md").read_text() == table
    counted = re.search(r"^(\d+) cells: (\d+) pass", table, re.MULTILINE)
    assert counted, table
    assert int(counted[2]) >= 3 * 3 + 3 * 3
    assert "| running_mean | pass | pass | pass |" in table
    assert list((tmp_path / "tmp").iterdir()) == []


def test_refusals_are_those_that_the_cases_expect() -> None:
    pytest.importorskip("cwltool")
    chosen = ("--engines", "d4pcwl-runner", "--forms", "cut,sharded", "--mappings", "simple")
    process = start("--only", "cycle_across_a_cut,own_classes", *chosen)
    table, progress = process.communicate(timeout=900)
    assert process.returncode == 0, progress + table
    assert progress.count(": refused") == 4


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("cwltool")
    mark = f"CONFORMANCE_TEST={tmp_path}"
    name, value = mark.split("=")
    only = ["--only", "word_count,running_mean", "--engines", "cwltool"]
    process = start(*only, TMPDIR=str(tmp_path), **{name: value})
    assert process.stderr is not None
    process.stderr.readline()  # the first cell is done, others are under way
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert marked(mark) == []
    assert list(tmp_path.iterdir()) == []


def marked(mark: str) -> list[str]:
    """The commands of the processes that have ``mark`` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue  # it has ended, or is not ours
    return found


def test_the_page_keeps_its_header_and_first_column_in_sight(parts: Any) -> None:
    style = re.search(r"<style>.*?</style>", parts.table.Report({}, {}, {}).html(), re.DOTALL)
    assert style is not None
    assert "position:sticky;left:0" in style[0]
    assert "tr:first-child th{top:0" in style[0]
    page = (CONFORMANCE / "table.html").read_text(encoding="utf-8")
    assert style[0] in page
