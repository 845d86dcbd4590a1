"""The way back: documents made of scripts become the scripts' graphs again."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cwl_kit import CHAIN, COMPOSITES, DIAMOND, HEAD, command, own_modules, write_script
from hypothesis import given, settings
from hypothesis import strategies as st

import d4pcwl
from d4pcwl import CwlGraph, from_cwl, load, to_cwl
from d4pcwl.errors import D4pcwlError, TranslationError
from d4pcwl.workflow.flat import flatten

pytest.importorskip("cwltool")

CONFORMANCE = Path(__file__).parent.parent / "conformance"
sys.path.insert(0, str(CONFORMANCE))
from cases import MODULES, Case, read_cases  # noqa: E402

FORMS = ("whole", "cut", "pe", "sharded")


def compiled(script: Path, folder: Path, attr: str | None = None, **options: Any) -> Path:
    document = folder / "document.cwl"
    document.write_text(str(to_cwl(script, attr=attr, folder=folder, **options)))
    return document


def described(graph: Any) -> dict[str, Any]:
    return flatten(graph).describe()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", read_cases(), ids=lambda case: case.name)
def test_import_undoes_compile(case: Case, form: str, tmp_path: Path) -> None:
    for extra in case.extras:
        for module in MODULES[extra]:
            pytest.importorskip(module)
    options: dict[str, Any] = {
        "whole": {},
        "cut": {"cut": case.cut},
        "pe": {"cut": "pe"},
        "sharded": {"shards": 3, "cut": case.shard_cut or None},
    }[form]
    attr = case.attr or None
    with own_modules():
        if form in case.refused or (form == "pe" and "cut" in case.refused):
            try:
                document = compiled(case.path, tmp_path, attr, **options)
            except (TranslationError, D4pcwlError):
                return
        else:
            document = compiled(case.path, tmp_path, attr, **options)
        graph = from_cwl(document)
        assert not isinstance(graph, CwlGraph)
        assert described(graph) == load(case.path, attr).flat().describe()


# --- generated graphs -----------------------------------------------------------------------------

PES = (
    HEAD
    + """

class Source(ProducerPE):
    def _process(self, inputs):
        for number in range(3):
            self.write("output", [number % 2, number])


class Step(GenericPE):
    def __init__(self, name, groupings):
        super().__init__()
        self.name = name
        for number, grouping in enumerate(groupings):
            self._add_input(f"in{number}", grouping=grouping)
        self._add_output("output")

    def process(self, inputs):
        for item in inputs.values():
            self.write("output", item)


class Pair(CompositePE):
    def __init__(self, name, grouping):
        super().__init__()
        first, second = Step(name + "_first", [grouping]), Step(name + "_second", [None])
        self.connect(first, "output", second, "in0")
        self._map_input("in0", first, "in0")
        self._map_output("output", second, "output")


graph = WorkflowGraph()
"""
)


@st.composite
def scripts(draw: st.DrawFn) -> str:
    """Scripts of layered graphs: fan-out, fan-in, groupings, composites."""
    lines: list[str] = []
    nodes: list[str] = []
    for number in range(draw(st.integers(1, 2))):
        name = f"source{number}"
        lines.append(f"{name} = named(Source(), {name!r})")
        nodes.append(name)
    for number in range(draw(st.integers(1, 5))):
        name = f"node{number}"
        feeders = draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=2, unique=True))
        groupings = [draw(st.sampled_from([None, [0], "all", "global"])) for _ in feeders]
        if len(feeders) == 1 and draw(st.booleans()):
            lines.append(f"{name} = Pair({name!r}, {groupings[0]!r})")
        else:
            lines.append(f"{name} = Step({name!r}, {groupings!r})")
        for port, feeder in enumerate(feeders):
            lines.append(f"graph.connect({feeder}, 'output', {name}, 'in{port}')")
        nodes.append(name)
    for name in nodes:
        lines.append(f"graph.add({name})")
    return PES + "\n".join(lines) + "\n"


@settings(max_examples=12)
@given(text=scripts(), form=st.sampled_from(["whole", "composite", "pe", "sharded"]))
def test_import_undoes_compile_for_any_graph(text: str, form: str) -> None:
    options = {"cut": form} if form in ("composite", "pe") else {}
    with tempfile.TemporaryDirectory() as name, own_modules():
        folder = Path(name)
        script = write_script(folder, text)
        try:
            document = compiled(script, folder, **(options if form != "sharded" else {"shards": 2}))
        except D4pcwlError:
            return  # a cut may make no stages; test_compile.py and test_shards.py say which
        graph = from_cwl(document)
        assert not isinstance(graph, CwlGraph)
        assert described(graph) == load(script).flat().describe()


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["whole", "pe", "sharded"])
def test_what_is_imported_gives_what_the_script_gives(form: str, tmp_path: Path) -> None:
    script = write_script(tmp_path, CHAIN)
    options: dict[str, Any] = {"whole": {}, "pe": {"cut": "pe"}, "sharded": {"shards": 2}}[form]
    with own_modules():
        graph = from_cwl(compiled(script, tmp_path, **options))
        assert dict(d4pcwl.run(graph)) == dict(d4pcwl.run(load(script)))


@pytest.mark.parametrize("form", ["whole", "pe"])
def test_the_command_refers_to_the_script(form: str, tmp_path: Path) -> None:
    script = write_script(tmp_path / "there", DIAMOND)
    document = compiled(script, tmp_path, **({} if form == "whole" else {"cut": "pe"}))
    done = command("cwl2d4p", document, "-o", tmp_path / "again.py")
    assert "note: the document was made from" in done.stderr
    text = (tmp_path / "again.py").read_text()
    assert 'graph = load(Path(__file__).parent / "there/flow.py", "graph").graph' in text
    ours = command("dispel4py", "simple", tmp_path / "again.py").stdout
    assert ours == command("dispel4py", "simple", script).stdout
    done = command("cwl2d4p", "--no-native", document, "-o", tmp_path / "steps.py")
    assert "CwlGraph(" in (tmp_path / "steps.py").read_text()


def test_steps_of_a_compiled_document_give_the_same_results(tmp_path: Path) -> None:
    script = write_script(tmp_path, COMPOSITES)
    document = compiled(script, tmp_path, cut="composite")
    command("cwl2d4p", "--no-native", document, "-o", tmp_path / "steps.py")
    (tmp_path / "out").mkdir()
    done = command("dispel4py", "multi", tmp_path / "steps.py", cwd=tmp_path / "out")
    (line,) = done.stdout.splitlines()
    results = [file["path"] for name, file in json.loads(line)["data"].items() if "results" in name]
    ours = sorted(text for path in results for text in Path(path).read_text().splitlines())
    assert ours == sorted(command("dispel4py", "simple", script).stdout.splitlines())


# --- what is not the script's graph any more ------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("      - dispel4py\n", "      - env\n      - dispel4py\n"),
        ("source: Plus/Plus_output\n", "source: Minus/Minus_output\n"),
        ("source: mapping\n", "source: mapping\n            valueFrom: multi\n"),
        ("Plus.output=Plus_output.d4ps", "Plus.output=other.d4ps"),
        ("valueFrom: flow.py", "valueFrom: other.py"),
        ("    d4p:digest: ", "    d4p:digest: 0"),
    ],
)
def test_a_document_that_was_changed_is_run_as_it_says(old: str, new: str, tmp_path: Path) -> None:
    script = write_script(tmp_path, DIAMOND)
    with own_modules():
        document = compiled(script, tmp_path, cut="pe")
        text = document.read_text()
        assert old in text
        if "valueFrom: multi" in new:
            text = text.replace(
                "class: Workflow\n",
                "class: Workflow\n    requirements: [{class: StepInputExpressionRequirement}]\n",
            )
        document.write_text(text.replace(old, new, 1))
        assert isinstance(from_cwl(document), CwlGraph)


def test_a_script_that_was_changed_is_another(tmp_path: Path) -> None:
    script = write_script(tmp_path, CHAIN)
    document = compiled(script, tmp_path)
    changed = CHAIN.replace("graph = WorkflowGraph()", "graph = WorkflowGraph()\nDouble.x = 1")
    for text, same in (
        (changed, True),  # the code of a PE is not in the digest, as in the CWL itself
        (CHAIN + "\ngraph.add(named(Double(), 'more'))\n", False),
        ("import nothing_of_that_name\n", False),
        (None, False),
    ):
        if text is None:
            script.unlink()
        else:
            script.write_text(text)
        with own_modules():
            assert isinstance(from_cwl(document), CwlGraph) is not same
    assert isinstance(from_cwl(document, native=False), CwlGraph)
