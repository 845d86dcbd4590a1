"""Pictures of graphs, of their stages and of CWL documents: ``d4pcwl graph``."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import cwl_kit as kit
import pytest

from d4pcwl.cwl.picture import picture_of_cwl
from d4pcwl.errors import UsageError
from d4pcwl.workflow.nodes import Arrow, Box, Node
from d4pcwl.workflow.picture import Picture
from d4pcwl.workflow.rows import rows


def test_composites_are_boxes(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.COMPOSITES)
    lines = kit.command("d4pcwl", "graph", script).stdout.splitlines()
    assert lines[0] == "flowchart LR"
    assert lines[1:12] == [
        '  pe0(["Source"])',
        '  subgraph box0_pe1["outer"]',
        '    pe3["thousand"]',
        '    subgraph box1_pe1["Inner"]',
        '      pe1["one_1"]',
        '      pe2["ten_1"]',
        "    end",
        "  end",
        '  subgraph box0_pe4["other"]',
        '    pe4["one_2"]',
        '    pe5["ten_2"]',
    ]
    assert '  pe0 -->|"output → input"| pe1' in lines


def test_stages_and_shards_are_boxes(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.WORDS)
    text = kit.command("d4pcwl", "graph", script, "--shards", "4").stdout
    assert 'subgraph stage_pe0["Lines"]' in text
    assert 'subgraph stage_pe1["Split, 4 shards"]' in text
    assert 'pe1 -->|"output → input (group-by [0])"| pe2' in text
    cut = kit.command("d4pcwl", "graph", script, "--cut", "Split.output").stdout
    assert 'subgraph stage_pe0["Lines_to_Split"]' in cut
    assert "shards" not in cut


def test_the_steps_of_a_document(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.COMPOSITES)
    kit.command("d4p2cwl", "-q", script, "--cut", "pe", "-o", tmp_path / "flow.cwl")
    text = kit.command("d4pcwl", "graph", tmp_path / "flow.cwl").stdout
    lines = [line.strip() for line in text.splitlines()]
    boxes = [line for line in lines if line.startswith("subgraph")]
    assert boxes == [
        'subgraph step1["outer"]',
        'subgraph step2["Inner"]',
        'subgraph step6["other"]',
    ]
    assert 'step0["Source"]' in lines
    assert 'step0 -->|"Source_output"| step3' in lines  # into the box in the box
    assert 'step3 -->|"one_1_output"| step4' in lines
    assert 'step4 -->|"ten_1_output"| step5' in lines  # out of the inner box
    tool = kit.command("d4p2cwl", "-q", script, "-o", tmp_path / "tool.cwl")
    assert tool.returncode == 0
    assert 'tool["flow"]' in kit.command("d4pcwl", "graph", tmp_path / "tool.cwl").stdout


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_images(tmp_path: Path, suffix: str, start: bytes) -> None:
    script = kit.write_script(tmp_path, kit.DIAMOND)
    image = tmp_path / f"flow{suffix}"
    kit.command("d4pcwl", "graph", script, "--cut", "pe", "-o", image)
    assert image.read_bytes().startswith(start)
    if suffix == ".svg":
        assert b"Source" in image.read_bytes()


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_edges_out_of_boxes_are_drawn(tmp_path: Path) -> None:
    """Between records, Graphviz loses such an edge."""
    flow = Path(__file__).parents[1] / "conformance" / "workflows" / "nested_composites"
    document = tmp_path / "flow.cwl"
    script = flow / "nested_composites.py"
    kit.command("d4p2cwl", "-q", script, "--cut", "pe", "-o", document)
    kit.command("d4pcwl", "graph", document, "-o", tmp_path / "flow.svg")
    assert b"samples_output" in (tmp_path / "flow.svg").read_bytes()


def test_texts(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.DIAMOND)
    for name in ("flow.dot", "flow.mmd", "flow.md"):
        kit.command("d4pcwl", "graph", script, "-o", tmp_path / name)
    assert (tmp_path / "flow.dot").read_text().startswith("digraph workflow {")
    mermaid = (tmp_path / "flow.mmd").read_text()
    assert (tmp_path / "flow.md").read_text() == f"```mermaid\n{mermaid}```\n"


def test_what_cannot_be_drawn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = kit.write_script(tmp_path, kit.DIAMOND)

    def said(*arguments: object) -> str:
        return kit.command("d4pcwl", "graph", *arguments, code=2, cwd=tmp_path).stderr

    assert "the name has no suffix" in said(script, "-o", "picture")
    assert "no such script" in said("flwo.py")
    assert "--shards 1: at least 2" in said(script, "--shards", "1")
    assert "--cut is for scripts" in said("flow.cwl", "--cut", "pe")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="it is not installed"):
        Picture([Node("a", "a")]).image("svg")


def test_arrows_between_the_same_nodes_are_one_and_odd_names_are_safe() -> None:
    box = Box("b", 'a "box" <1>')
    nodes = [Node("x", "X#1", (), tuple("pqrs"), (box,)), Node("y", "Y|{}", tuple("pqrs"))]
    few = Picture(nodes, [Arrow("x", "p", "y", "p"), Arrow("x", "q", "y", "r", "all")])
    assert 'x -->|"p; q → r (all)"| y' in few.mermaid()
    assert 'subgraph b["a #quot;box#quot; #lt;1#gt;"]' in few.mermaid()
    assert 'x["X#35;1"]' in few.mermaid()
    many = Picture(nodes, [Arrow("x", port, "y", port) for port in "pqrs"])
    assert 'x -->|"4 values"| y' in many.mermaid()
    assert many.dot().count(" -> ") == 4
    assert "Y|{}</TD>" in many.dot()
    assert r'label="a \"box\" <1>"' in many.dot()
    assert ">&lt;a&gt;<BR/>&amp;</TD>" in Picture([Node("a", "<a>\n&")]).dot()


CHAIN = """
from dispel4py.base import SimpleFunctionPE
from dispel4py.workflow_graph import WorkflowGraph

graph, last = WorkflowGraph(), None
for number in range(20):
    step = SimpleFunctionPE(abs)
    step.name = f"filter_{number}"
    if last is not None:
        graph.connect(last, "output", step, "input")
    last = step
"""


def test_long_chains_go_on_in_the_row_below() -> None:
    widths = dict.fromkeys(range(20), 100.0)
    found = rows(widths, [(number, number + 1) for number in range(19)], 420)
    assert found == [[*range(start, start + 4)] for start in range(0, 20, 4)]
    assert rows(widths, [], 420) == [list(range(20))]  # one column
    many = [(0, 1)] * 3 + [(1, 2)] * 2 + [(2, 0)]
    assert rows({0: 300, 1: 300, 2: 300}, many, 420) == [[0, 1, 2]]  # no end that few arrows pass
    assert rows({}, [], 420) == [[]]


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_a_chain_is_as_wide_as_a_column_and_draws_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = kit.write_script(tmp_path, CHAIN)
    drawn: dict[str, set[bytes]] = {".svg": set(), ".pdf": set()}
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        for suffix, images in drawn.items():
            image = tmp_path / f"chain{suffix}"
            kit.command("d4pcwl", "graph", script, "-o", image)
            images.add(image.read_bytes())
    assert {suffix: len(images) for suffix, images in drawn.items()} == {".svg": 1, ".pdf": 1}
    (svg,) = drawn[".svg"]
    width = re.search(rb'width="(\d+)pt"', svg)
    assert width is not None
    assert 300 < int(width[1]) < 600
    assert set(re.findall(rb'font-family="([^"]*)"', svg)) == {b"Helvetica,sans-Serif"}
    assert svg.count(b"filter_") >= 20


def test_kinds_and_groupings_are_told_without_colour(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.WORDS)
    kit.command("d4pcwl", "graph", script, "-o", tmp_path / "flow.dot")
    lines = (tmp_path / "flow.dot").read_text().splitlines()
    source, split, count = (next(n for n in lines if f"pe{k} [" in n) for k in range(3))
    assert "ROUNDED" in source
    assert "source" in source
    assert "<I>" not in split
    assert count.count("<TABLE") == 2  # a double outline
    assert "<I>keeps state, sink</I>" in count
    assert 'pe1:e -> pe2:w [label="group-by [0]", style=dashed];' in "\n".join(lines)
    assert "color" not in "\n".join(lines)


def test_the_ways_of_the_data_unless_all_is_asked_for(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.WORDS)
    flow = tmp_path / "flow.cwl"
    kit.command("d4p2cwl", "-q", script, "--shards", "3", "-o", flow)
    data = kit.command("d4pcwl", "graph", flow).stdout
    whole = kit.command("d4pcwl", "graph", flow, "--all-edges").stdout
    for setting in ("mapping", "script", "printed"):
        assert setting not in data
    assert "printed" in whole
    assert "inputs -->" in whole
    assert "Lines_output_for_Split_input_*" in data
    assert 'step1[["Split"]]' in data  # it is scattered
    assert "results" in data
    said = kit.command("d4pcwl", "graph", script, "--all-edges", code=2).stderr
    assert "--all-edges is for CWL documents" in said


def test_an_input_of_a_named_type(tmp_path: Path) -> None:
    path = tmp_path / "flow.cwl"
    path.write_text("""\
cwlVersion: v1.2
class: Workflow
requirements: {SchemaDefRequirement: {types: [{name: items, type: enum, symbols: [a]}]}}
inputs: {how: ['null', '#items'], file: File}
outputs: {}
steps: {a: {in: {file: file}, out: [], run: tool.cwl}}
""")
    (tmp_path / "tool.cwl").write_text(
        "{cwlVersion: v1.2, class: CommandLineTool, inputs: {file: File}, outputs: {}}"
    )
    drawn = picture_of_cwl(str(path)).mermaid()
    assert 'inputs -->|"file"| step0' in drawn
    assert "how" not in drawn


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_a_ring_in_rows_is_drawn() -> None:
    """Some rows are joined by nothing but arrows that go further, or back."""
    nodes = [Node(f"n{k}", "a long title of a node " * 2, ("i",), ("output",)) for k in range(6)]
    order = (0, 2, 4, 1, 3, 5, 0)
    arrows = [
        Arrow(f"n{a}", "output", f"n{b}", "i", "all" if b == 2 else "")
        for a, b in itertools.pairwise(order)
    ]
    drawn = Picture(nodes, [*arrows, Arrow("n0", "output", "n1", "i")]).image("svg")
    assert drawn.count(b'class="node"') >= 6
