"""In notebooks: pictures, short errors, progress, and CWL of what cells have made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Jupyter's packages

EXAMPLE = Path(__file__).parents[1] / "examples" / "notebook" / "first_workflow.ipynb"

IMPORTS = """
import d4pcwl
from dispel4py.base import IterativePE
from dispel4py.workflow_graph import WorkflowGraph
"""

TIMES = """
FACTOR = 3

def times(number):
    return number * FACTOR

class Times(IterativePE):
    def _process(self, number):
        return times(number)
"""

GRAPH = """
graph = WorkflowGraph()
first, second = Times(), Times()
graph.connect(first, "output", second, "input")
"""


def executed(cells: list[str], folder: Path, *, path: str | None = None) -> list[list[Any]]:
    """What each cell shows: for outputs their data, for errors their tracebacks."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    if path is not None:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(f"%env PATH={path}"))
    client = nbclient.NotebookClient(
        notebook, allow_errors=True, timeout=100, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    shown = []
    for cell in notebook.cells[path is not None :]:
        found = []
        for output in cell.outputs:
            texts = (output.get("traceback"), output.get("text"), output.get("data"))
            found.append(next(text for text in texts if text is not None))
        shown.append(found)
    return shown


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_a_graph_is_a_picture_an_error_a_block_and_a_run_is_seen(tmp_path: Path) -> None:
    run = "results = d4pcwl.run(graph, {first: [{'input': n} for n in range(3)]}"
    cells = [
        IMPORTS,
        TIMES,
        GRAPH + "graph",
        "graph.connect(first, 'output', second, 'inptu')",
        f"{run}, mapping='multi', processes=2)\nresults[second]['output']",
        f"{run[:-1]}, 'x'])",
    ]
    *_, graph, wrong, done, _ = executed(cells, tmp_path)
    assert graph[0]["image/svg+xml"].lstrip().startswith("<?xml")
    assert "Times.output → Times.input" in graph[0]["text/plain"]
    assert wrong == [["GraphError: Times has no input 'inptu'; did you mean input?"]]
    progress, value = (each["text/plain"] for each in done)
    assert value == "[0, 9, 18]"
    lines = progress.splitlines()
    assert "Times_2: worked on 3 items, wrote 3" in lines
    assert sum("worked on 3 items" in line for line in lines) == 2


def test_without_graphviz_a_graph_is_text(tmp_path: Path) -> None:
    *_, graph = executed([IMPORTS, TIMES, GRAPH + "graph"], tmp_path, path=str(tmp_path))
    assert list(graph[0]) == ["text/plain"]
    assert graph[0]["text/plain"].splitlines()[1:] == ["Times.output → Times.input"]


def test_the_cells_that_made_a_graph_are_compiled_and_run(tmp_path: Path) -> None:
    """Cells that were run again, cells that failed, and what only uses the graph."""
    cells = [
        IMPORTS.replace("import IterativePE", "import *"),
        TIMES.replace("3", "1000"),
        "graph = WorkflowGraph()\ngraph.add(Times())",
        TIMES,
        "1 / 0",
        GRAPH.partition("graph.connect")[0],
        "graph.connect(first, 'output', second, 'inptu')",
        "%pwd\ngraph.connect(first, 'output', second, 'input')\n!echo hello",
        "for pe in (first, second):\n    pe.name = 'times'",
        "results = d4pcwl.run(graph, {first: 1}, iterations=1)",
        "x = d4pcwl.to_cwl(graph)\nprint(graph.nodes)",
        "from pathlib import Path\nx = Path('flow.cwl').write_text(str(d4pcwl.to_cwl(graph)))",
    ]
    shown = executed(cells, tmp_path)
    assert shown[-1] == [], shown
    script = (tmp_path / "graph_cells.py").read_text()
    for left_out in ("1000", "1 / 0", "inptu", "echo", "run(", "to_cwl"):
        assert left_out not in script
    given = ["--input_data", '{"times0": [{"input": 1}, {"input": 4}]}']
    done = subprocess.run(
        [Path(sys.executable).parent / "cwltool", "--quiet", "flow.cwl", *given],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [line.partition('"data": ')[2] for line in lines] == ["9}", "36}"]


def test_what_cells_cannot_make_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine_cells.py").write_text("# a file of mine\n")
    cells = [
        IMPORTS,
        TIMES,
        GRAPH,
        "mine = graph\nhidden = __import__('copy').copy(graph)\ndel graph",
        "d4pcwl.to_cwl(mine)",
        "exec('other = WorkflowGraph(); other.add(Times())')",
        "d4pcwl.to_cwl(other)",
    ]
    shown = executed(cells, tmp_path)
    assert "mine_cells.py exists and was not made by d4pcwl" in shown[4][0][0]
    assert "UsageError: the cells that made other do not work as a script" in shown[6][0][0]
    assert (tmp_path / "mine_cells.py").read_text() == "# a file of mine\n"


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_the_example(tmp_path: Path) -> None:
    folder = tmp_path / "notebook"
    shutil.copytree(EXAMPLE.parent, folder)
    notebook = nbformat.read(EXAMPLE, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        client = nbclient.NotebookClient(
            notebook, timeout=100, resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    shown = "".join(str(cell.get("outputs")) for cell in notebook.cells)
    assert "image/svg+xml" in shown
    assert "worked on" in shown
    assert '{"pe": "count", "port": "output", "data": ["and", 2]}' in shown
    kit.validate(folder / "words.cwl")
