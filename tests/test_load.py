"""Loading scripts: what is found, how often they run, and what is said when they fail."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d4pcwl import load, run
from d4pcwl.errors import ScriptError

GRAPH = """
from dispel4py.base import ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
class One(ProducerPE):
    def _process(self, inputs):
        return 1
graph = WorkflowGraph()
graph.add(One())
"""

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files into the current folder, an empty one; what is imported is forgotten after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)

    def write_file(name: str, text: str = GRAPH) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return name

    yield write_file
    for name in set(sys.modules) - set(before):
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("flow.py", "flow.py"),
        ("flow.py", "./flow.py"),
        ("flow.py", "flow"),
        ("flow.py", "flow:graph"),
        ("flow.py", "flow.py:graph"),
        ("package/flow.py", "package/flow.py"),
        ("package/flow.py", "package.flow"),
        ("package/flow.py", "package.flow:graph"),
        ("a script", "a script"),
        ("fl:ow.py", "fl:ow.py"),
        ("2nd-flow.py", "2nd-flow.py"),
    ],
)
def test_forms(write: Write, file: str, source: str) -> None:
    write(file)
    script = load(source)
    assert (script.attr, script.path) == ("graph", Path(source.partition(":graph")[0])) or (
        script.path == Path(file)
    )
    assert [pe.id for pe in script.flat().pes] == ["One0"]
    assert run(script)["One"]["output"] == [1]


def test_absolute_path(write: Write, tmp_path: Path) -> None:
    assert load(tmp_path / write("flow.py")).path == tmp_path / "flow.py"


def test_several_graphs(write: Write) -> None:
    write("flow.py", GRAPH + "other = WorkflowGraph()\nsame = other\n")
    with pytest.raises(ScriptError, match=r"flow.py holds several graphs: graph, other; choose"):
        load("flow.py")
    assert load("flow.py", "other").attr == "other"
    assert load("flow.py:same").attr == "same"


def test_composites_and_nested_graphs_are_not_the_workflow(write: Write) -> None:
    write(
        "flow.py",
        GRAPH
        + """
from dispel4py.workflow_graph import WorkflowGraph as Imported
inner = WorkflowGraph()
inner.add(pe := One())
inner.outputmappings = {"output": (pe, "output")}
plain = WorkflowGraph()
plain.add(One())
graph.add(inner)
graph.add(plain)
""",
    )
    script = load("flow.py")
    assert script.attr == "graph"
    flat = script.flat()
    assert len(flat.pes) == 3
    assert [getattr(g, "name", None) for pe in flat.pes for g in flat.composites[id(pe)]][:1] == [
        "inner"
    ]


@pytest.mark.parametrize(
    ("text", "attr", "message"),
    [
        (
            "x = 1\n",
            None,
            "flow.py holds no workflow graph; a script is to leave its WorkflowGraph",
        ),
        (
            GRAPH + "graph.inputmappings = {}\n",
            None,
            "holds no workflow graph; its graphs are comp",
        ),
        (GRAPH, "grahp", "flow.py has nothing called 'grahp'; did you mean graph"),
        (GRAPH, "One", "flow.py: One is a type, not a graph; known: graph"),
        (GRAPH + "x = 1\n", "x", "flow.py: x is a int, not a graph; known: graph"),
        (GRAPH, "WorkflowGraph", "WorkflowGraph is a type, not a graph"),
    ],
)
def test_no_such_graph(write: Write, text: str, attr: str | None, message: str) -> None:
    write("flow.py", text)
    with pytest.raises(ScriptError, match=message):
        load("flow.py", attr)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("flwo.py", "no such script: flwo.py; did you mean flow.py"),
        ("no/such.py", "no such script: no/such.py"),
        ("no_such_module", "no such script or module: no_such_module"),
        ("no.such.module", "no such script or module: no.such.module"),
        ("package", "package is a folder; give the script itself"),
        ("sys", "module sys has no file"),
    ],
)
def test_no_such_script(write: Write, source: str, message: str) -> None:
    write("flow.py")
    write("package/other.py")
    with pytest.raises(ScriptError, match=message):
        load(source)


@pytest.mark.parametrize("form", ["flow.py", "flow"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x / 0\n", "flow.py:2: ZeroDivisionError: division by zero\n    y = x / 0"),
        ("def f():\n    return a\n\nf()\n", "flow.py:2: NameError: name 'a' .*\n    return a"),
        ("import json\njson.loads('{')\n", "flow.py:2: .*JSONDecodeError.*\n    json.loads"),
        ("import sys\nsys.exit(3)\n", r"flow.py:2: it called exit\(3\)\n    sys.exit\(3\)"),
        ("x = (1\ny = 2\n", r"flow.py:1:5: SyntaxError: .*\n    x = \(1\n        \^"),
        ("if 1:\nx = 2\n", "flow.py:2:1: IndentationError: .*\n    x = 2\n    \\^"),
        ("import no_such_thing\n", "flow.py:1: ModuleNotFoundError: .*\n    import no_such"),
        ("import helper\n", "helper.py:2: ValueError: in the helper\n    raise ValueError"),
        ("import broken\n", "broken.py:1:9: SyntaxError"),
        (
            "from dispel4py.workflow_graph import WorkflowGraph\nWorkflowGraph().add(1)\n",
            "flow.py:2: d4pcwl.errors.GraphError: 1 is neither .*\n    WorkflowGraph",
        ),
    ],
)
def test_a_script_that_fails_shows_its_own_line(
    write: Write, form: str, text: str, message: str
) -> None:
    write("flow.py", text)
    write("helper.py", "# helps\nraise ValueError('in the helper')\n")
    write("broken.py", "x = 1 + \n")
    with pytest.raises(ScriptError) as caught:
        load(form)
    first, _, rest = str(caught.value).partition("\n")
    assert re.match(f"{re.escape(form)} (failed while it was|cannot be) loaded", first)
    assert re.match(message, rest), rest
    assert "flow" not in sys.modules


def test_interrupt_of_a_script_is_not_its_failure(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(write("flow.py", "raise KeyboardInterrupt\n"))


def test_body_runs_once_though_a_helper_imports_it(write: Write, tmp_path: Path) -> None:
    write(
        "sub/flow.py",
        GRAPH
        + """
with open("runs", "a") as file:
    file.write("x")
import helper
""",
    )
    write("sub/helper.py", "import flow\nassert flow.One\n")
    load("sub/flow.py")
    assert (tmp_path / "runs").read_text() == "x"


def test_helper_modules_beside_the_script(write: Write) -> None:
    write("sub/flow.py", "import my_helper\n" + GRAPH + "\nassert my_helper.VALUE == 7\n")
    write("sub/my_helper.py", "VALUE = 7\n")
    assert load("sub/flow.py").attr == "graph"
    assert sys.path[0].endswith("/sub")


def test_helper_modules_beside_a_link_to_the_script(write: Write, tmp_path: Path) -> None:
    write("kept/1/flow.py", "import linked_helper, kept_helper\n" + GRAPH)
    write("kept/2/linked_helper.py")
    write("kept/1/linked_helper.py", "raise AssertionError")
    write("kept/1/kept_helper.py")
    (tmp_path / "staged").mkdir()
    for name in ("1/flow.py", "2/linked_helper.py"):
        (tmp_path / "staged" / Path(name).name).symlink_to(tmp_path / "kept" / name)
    assert load("staged/flow.py").attr == "graph"


@pytest.mark.parametrize("name", ["json", "random", "csv", "d4pcwl", "pytest"])
def test_script_called_like_a_module(write: Write, name: str) -> None:
    before = sys.modules.get(name)
    script = load(write(f"scripts/{name}.py", GRAPH))
    assert run(script)["One"]["output"] == [1]
    assert run(script, mapping="multi", processes=2)["One"]["output"] == [1]
    assert sys.modules.get(name) is before
    assert sys.modules[script.module.__name__] is script.module


def test_main_guard_is_not_run(write: Write) -> None:
    write("flow.py", GRAPH + "if __name__ == '__main__':\n    raise SystemExit\n")
    assert load("flow.py").attr == "graph"


def test_loaded_twice_gives_graphs_of_their_own(write: Write) -> None:
    write("flow.py")
    assert load("flow.py").graph is not load("flow.py").graph


def test_classes_of_a_script_can_be_pickled(write: Write) -> None:
    import pickle

    for name in ("flow.py", "2nd-flow.py", "json.py"):
        (pe,) = load(write(f"x/{name}")).flat().pes
        assert type(pickle.loads(pickle.dumps(pe))) is type(pe)
