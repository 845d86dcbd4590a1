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
            "flow.py holds no workflow graph; put the WorkflowGraph",
        ),
        (
            GRAPH + "graph.inputmappings = {}\n",
            None,
            "holds no workflow graph; its graphs are comp",
        ),
        (GRAPH, "grahp", "flow.py has no graph 'grahp'; did you mean graph"),
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
        (
            "flow.ipynb",
            "flow.ipynb is a notebook; make a script of it: jupyter nbconvert --to script "
            "flow.ipynb",
        ),
    ],
)
def test_no_such_script(write: Write, source: str, message: str) -> None:
    write("flow.py")
    write("flow.ipynb")
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
        (
            "from dispel4py.seismo.seismo import SeismoPE\n",
            r"flow.py:1: No module named 'dispel4py.seismo'; d4pcwl has no .* stream-d4py\)\n",
        ),
        (
            "from dispel4py.base import NoSuchPE\n",
            r"flow.py:1: cannot import name 'NoSuchPE' .*; d4pcwl has no such name; if",
        ),
        ("import helper\n", "helper.py:2: ValueError: in the helper\n    raise ValueError"),
        ("import broken\n", "broken.py:1:9: SyntaxError"),
        (
            "from dispel4py.workflow_graph import WorkflowGraph\nWorkflowGraph().add(1)\n",
            "flow.py:2: 1 is neither .*\n    WorkflowGraph",
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
        load(write("flow.py", "import signal\nsignal.raise_signal(signal.SIGINT)\n"))


def test_an_interrupt_that_the_script_makes_up_is_its_failure(write: Write) -> None:
    with pytest.raises(ScriptError, match=r"failed while it was loaded\n.*KeyboardInterrupt"):
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


ODD_GLOBALS = """
import unittest.mock, xmlrpc.client
import numpy
from dispel4py.workflow_graph import WorkflowGraph as _Graph

class Yes:
    def __getattr__(self, name):
        return True
class Angry:
    def __getattr__(self, name):
        raise RuntimeError(f"asked for {name}")
class Disguised:
    @property
    def __class__(self):
        raise RuntimeError("asked for its class")
class Meta(type):
    def __getattr__(cls, name):
        raise RuntimeError(f"asked for {name}")
    def __instancecheck__(cls, thing):
        raise RuntimeError("asked whether it is one")
    def __eq__(cls, other):
        raise RuntimeError("compared")
    __hash__ = None
class OfMeta(metaclass=Meta):
    pass
class Shy:
    def __getattribute__(self, name):
        raise RuntimeError(f"asked for {name}")
class NoTruth:
    def __bool__(self):
        raise RuntimeError("asked for its truth")
    def __eq__(self, other):
        raise RuntimeError("compared")
    __hash__ = None
class Slots:
    __slots__ = ("nodes",)

server = xmlrpc.client.ServerProxy("http://127.0.0.1:9/")
mock = unittest.mock.MagicMock()
pretends = unittest.mock.MagicMock(spec=_Graph())
specced = unittest.mock.create_autospec(_Graph)
yes, angry, disguised, shy, no_truth, slots = Yes(), Angry(), Disguised(), Shy(), NoTruth(), Slots()
array = numpy.arange(3)
globals()[3] = Yes()
del _Graph
"""


def test_globals_that_answer_to_every_attribute_are_not_asked(write: Write) -> None:
    write("flow.py", ODD_GLOBALS + GRAPH)
    script = load("flow.py")
    assert script.attr == "graph"
    assert run(script)["One"]["output"] == [1]
    for name in ("server", "mock", "pretends", "specced", "yes", "angry", "disguised", "shy"):
        with pytest.raises(ScriptError, match=rf"flow\.py: {name} is a \w+, not a graph"):
            load("flow.py", name)


def test_what_answers_to_every_attribute_is_neither_pe_nor_graph(write: Write) -> None:
    names = "server, mock, pretends, yes, angry, disguised, shy, no_truth, slots, array, OfMeta"
    connects = f"for thing in ({names}):\n"
    connects += "    try:\n        graph.add(thing)\n"
    connects += "    except Exception as error:\n        told.append(error)\n"
    write("flow.py", ODD_GLOBALS + GRAPH + "told = []\n" + connects)
    script = load("flow.py")
    told = vars(script.module)["told"]
    assert [type(error).__name__ for error in told] == ["GraphError"] * 11, told
    assert len(script.flat().pes) == 1


def test_a_script_that_puts_another_object_in_its_place(write: Write) -> None:
    lazy = "import sys, unittest.mock\n{graph}\nsys.modules[__name__] = {thing}\n"
    for number, thing in enumerate(("unittest.mock.MagicMock()", "object()", "7")):
        name = f"lazy{number}"
        write(f"{name}.py", lazy.format(graph=GRAPH, thing=thing))
        assert load(f"{name}.py").attr == "graph"
        with pytest.raises(ScriptError, match=f"{name} replaces its module by a"):
            load(name)


def test_graphs_that_a_module_makes_when_asked(write: Write) -> None:
    text = (
        GRAPH.replace("graph = ", "_made = ").replace("graph.add", "_made.add")
        + "def __getattr__(name):\n    "
    )
    write("lazy.py", text + "if name == 'graph':\n        return _made\n    raise KeyError(name)\n")
    assert load("lazy.py", "graph").attr == "graph"
    with pytest.raises(ScriptError, match=r"lazy.py has no 'grahp'\n.*:\d+: KeyError: 'grahp'"):
        load("lazy.py", "grahp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class E(BaseException): pass\nraise E('odd')\n", r"flow.py:2: flow.E: odd\n"),
        ("import asyncio\nraise asyncio.CancelledError\n", r"flow.py:2: .*CancelledError\n"),
        ("raise GeneratorExit\n", r"flow.py:1: GeneratorExit\n"),
        ("class E(Exception):\n  def __str__(self): 1/0\nraise E\n", r"flow.py:3: flow.E: <exc"),
        (
            "class C:\n  def __repr__(self): 1/0\nraise SystemExit(C())\n",
            r"flow.py:3: it called exit\(<C>\)",
        ),
        ("compile('x = (', 'made', 'exec')\n", r"flow.py:1: .*SyntaxError: "),
        ("raise SyntaxError()\n", r"flow.py:1: SyntaxError: "),
        ("raise KeyError\n", r"flow.py:1: KeyError\n"),
        ("def f(): f()\nf()\n", r"flow.py:1: RecursionError: maximum"),
    ],
)
def test_odd_ends_of_a_script(write: Write, text: str, message: str) -> None:
    write("flow.py", text)
    for form in ("flow.py", "flow"):
        with pytest.raises(ScriptError, match=r"(failed while it was|cannot be) loaded") as caught:
            load(form)
        assert re.match(message, str(caught.value).partition("\n")[2]), caught.value


@pytest.mark.parametrize(
    "name", [".flow", "..", "a..b", "x" * 300, "x" * 5000, "a\0b", "fl ow.", ""]
)
def test_odd_names_of_scripts(write: Write, name: str) -> None:
    with pytest.raises(ScriptError, match=r"no such script|is a folder"):
        load(name)


def test_bytes_that_are_no_script(write: Write, tmp_path: Path) -> None:
    for number, data in enumerate((b"\0\0", b"\xff\xfe1", b"# coding: no-such\n", b"\x80abc")):
        (tmp_path / f"bytes{number}.py").write_bytes(data)
        with pytest.raises(ScriptError, match=rf"bytes{number}.py (cannot be|failed while it was)"):
            load(f"bytes{number}.py")


def test_a_graph_that_is_made_under_the_main_guard_is_told_of(write: Write) -> None:
    write("flow.py", "import sys\nif '__main__' == __name__:\n" + textwrap.indent(GRAPH, "    "))
    with pytest.raises(ScriptError, match=r"__name__ == '__main__'.* line 2"):
        load("flow.py")


def test_a_graph_that_is_left_in_a_function_is_told_of(write: Write) -> None:
    made = "def make():\n" + textwrap.indent(GRAPH, "    ") + "    return graph\n"
    write("flow.py", made + "make()\n")
    with pytest.raises(
        ScriptError, match=r"make\(…\) -> WorkflowGraph: on line 1, .*, graph = make\(\)"
    ):
        load("flow.py")
    write("bound.py", made + "pipeline = make()\n")
    assert load("bound.py").attr == "pipeline"
