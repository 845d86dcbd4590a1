"""Mistakes that people make in their first hour: what is wrong, in which line, and what to do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cwl_kit as kit
import pytest

from d4pcwl.cli.parser import Parser

HEAD = """\
from dispel4py.base import *
from dispel4py.workflow_graph import WorkflowGraph

class Src(ProducerPE):
    def _process(self, inputs):
        yield from range(5)

graph = WorkflowGraph()
"""
ONE = "class A(IterativePE):\n    def _process(self, data):\n        return {}\n\n"
PORTS = """\
class A(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input("a")
        self._add_input("b")
        self._add_output("output")

    def _process(self, inputs):
        return {}

"""
JOIN = 'graph.connect(Src(), "output", A(), "input")\n'
AT_A = 'graph.connect(Src(), "output", A(), "a")\n'

# the script after its head, and what is said; LINE is the number of the line that ends in "# here"
MISTAKES = {
    "no super().__init__()": (
        "class A(IterativePE):\n    def __init__(self, k):  # here\n        self.k = k\n\n"
        'graph.connect(Src(), "output", A(3), "input")\n',
        r"A does not call .* make super\(\).__init__\(\) the first line of .* \(flow.py:LINE\)",
    ),
    "super().__init__() too late": (
        'class A(GenericPE):\n    def __init__(self):\n        self._add_input("input")  # here\n'
        "        super().__init__()\n\n" + JOIN,
        r"flow.py:LINE: AttributeError: .*; call super\(\).__init__\(\) first in its __init__",
    ),
    "returns no dictionary": (
        PORTS.replace("inputs):\n", "inputs):  # here\n").format(2)
        + AT_A,
        r"PE A failed on item 1 of .a.: 0\nflow.py:LINE: _process returned 2.* as "
        r"\{'output': 2\}, or None",
    ),
    "the other port": (
        PORTS.format("{'output': inputs['a'] + inputs['b']}  # here") + AT_A,
        r"flow.py:LINE: KeyError: 'b'; inputs holds only the port whose item has come: ask if 'b'",
    ),
    "an IterativePE with two inputs": (
        ONE.format("data").replace(
            "    def _process",
            '    def __init__(self):\n        super().__init__()\n        self._add_input("x")\n\n'
            "    def _process",
        )
        + JOIN.replace('"input"', '"x"'),
        "KeyError: 'input'; .*IterativePE reads only 'input': derive from GenericPE",
    ),
    "process instead of _process": (
        ONE.format("data + 1  # here").replace("_process", "process") + JOIN,
        r"flow.py:LINE: TypeError.* override _process\(self, data\) of IterativePE",
    ),
    "no self": (
        ONE.format("data").replace("(self, data):", "(data):  # here") + JOIN,
        r"flow.py:LINE: TypeError: .*; it has to be def _process\(self, data\)",
    ),
    "a misspelt method": (
        ONE.format("self.wirte('output', data)  # here") + JOIN,
        r"flow.py:LINE: AttributeError: .*'wirte'; did you mean write",
    ),
    "a misspelt output": (
        ONE.format("self.write('outptu', data)  # here") + JOIN,
        "flow.py:LINE: A has no output 'outptu'; did you mean output",
    ),
    "a misspelt input": (
        ONE.format("data") + JOIN.replace('"input")', '"inptu")  # here'),
        "flow.py:LINE: A has no input 'inptu'; did you mean input",
    ),
    "a class": (
        ONE.format("data") + JOIN.replace("A(), ", "A, ").replace(")\n", ")  # here\n"),
        r"flow.py:LINE: A is a class; connect an instance: A\(\)",
    ),
    "a function": (
        "def f(data):\n    return data\n\n"
        + JOIN.replace("A(), ", "f, ").replace(")\n", ")  # here\n"),
        r"flow.py:LINE: .* is neither a PE nor a graph; make a PE of it: SimpleFunctionPE\(f\)",
    ),
    "connect without ports": (
        ONE.format("data") + "graph.connect(Src(), A())  # here\n",
        r"flow.py:LINE: TypeError: .*graph.connect\(first, 'output', second, 'input'\)",
    ),
    "connected twice": (
        ONE.format("data")
        + 's, a = Src(), A()\ngraph.connect(s, "output", a, "input")\n'
        + 'graph.connect(s, "output", a, "input")  # here\n',
        "flow.py:LINE: Src.output → A.input is connected twice",
    ),
    "a composite without the port": (
        ONE.format("data") + "inner = WorkflowGraph()\ninner.add(A())\ninner.inputmappings = {}\n"
        'graph.connect(Src(), "output", inner, "input")  # here\n',
        "flow.py:LINE: .*composite inner has no input 'input'",
    ),
    "no PEs": ("", r"the graph has no PEs: .*graph.add\(pe\)"),
    "no roots": (
        ONE.format("data") + 'a, b = A(), A()\ngraph.connect(a, "output", b, "input")\n'
        'graph.connect(b, "output", a, "input")  # here\n',
        r"flow.py:LINE: no PE of the graph can begin.*: A_1 → A_2 → A_1; connect a source.* "
        r"-d '\{\"A_1\": ",
    ),
    "two PEs of one name": (
        ONE.format("data") + "graph.add(A())\ngraph.add(A())\n",
        r"PE A_1 works on .* -d '\{\"A_1\": .*\n.*PE A_2 works on .* -d '\{\"A_2\": ",
    ),
    "an item in the middle": (
        ONE.format("1 / (data - 3)  # here") + JOIN,
        r"PE A failed on item 4 of 'input': 3\nflow.py:LINE: ZeroDivisionError",
    ),
    "an item of a generator": (
        ONE.replace("return", "yield").format("1 / (data - 3)  # here") + JOIN,
        r"PE A failed on item 4 of 'input': 3\nflow.py:LINE: ZeroDivisionError",
    ),
    "an item without an output": (
        ONE.format("self.write(data)  # here") + JOIN,
        r"flow.py:LINE: TypeError: .*: self.write\('output', item\)\n",
    ),
    "a long item": (
        ONE.format("data.nothing  # here")
        + "s = SimpleFunctionPE(lambda data: list(range(9999)))\n"
        'graph.connect(Src(), "output", s, "input")\ngraph.connect(s, "output", A(), "input")\n',
        r"PE A failed on item 1 of 'input': \[0, 1, 2.{150,190}\.\.\.\nflow.py:LINE: Attr",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_with_their_line_and_what_to_do(mistake: str, tmp_path: Path) -> None:
    body, message = MISTAKES[mistake]
    text = HEAD + body
    (tmp_path / "flow.py").write_text(text)
    lines = [n for n, line in enumerate(text.splitlines(), 1) if line.endswith("# here")]
    done = kit.command("dispel4py", "simple", "flow.py", cwd=tmp_path, code=None)
    assert done.returncode in (1, 2)
    wanted = message.replace("LINE", str(lines[0] if lines else 0))
    assert re.search(wanted, done.stderr), done.stderr
    assert not re.search("Traceback|fault of d4pcwl|d4pcwl.errors", done.stderr)


def test_what_is_advised_is_taken(tmp_path: Path) -> None:
    text = HEAD + ONE.format("data") + "graph.add(A())\ngraph.add(A())\n"
    (tmp_path / "flow.py").write_text(text)
    refused = kit.command("dispel4py", "simple", "flow.py", cwd=tmp_path, code=2).stderr
    for advice in re.findall(r"-d '(.*)'", refused):
        kit.command("dispel4py", "simple", "flow.py", "-d", advice, cwd=tmp_path)


def test_results_have_names_that_stay_when_a_pe_is_added(tmp_path: Path) -> None:
    for more in ("", "graph.add(Src())\n"):
        text = HEAD.replace("graph = ", "class B(Src): pass\n\ngraph = ") + more.replace("Src", "B")
        (tmp_path / "flow.py").write_text(text + ONE.format("data") + JOIN)
        done = kit.command("dispel4py", "simple", "flow.py", cwd=tmp_path)
        assert done.stdout.count('{"pe": "A", "port": "output"') == 5
    several = "".join(f"{name} = A(); graph.add({name})\n" for name in "abc")
    given = ["-d", '{"A_2": [{"input": 1}]}']
    for more in ("", "class B(A): pass\ngraph.add(B())\n", several.replace("A()", "Src()")):
        text = HEAD + ONE.format("data") + more + several
        (tmp_path / "flow.py").write_text(text)
        done = kit.command("dispel4py", "simple", "flow.py", *given, cwd=tmp_path)
        assert done.stdout == '{"pe": "A_2", "port": "output", "data": 1}\n'


WORK = {  # what a PE does, and whether it is told of where it feeds another, and where it does not
    "2 * data": (True, True),
    "doubled = self.double(data)": (True, True),
    "print(data)": (True, False),
    "self.last = data": (True, False),
    "assert data + 1": (True, False),
    "pass": (True, False),
    "return self.double(data)": (False, False),
    "self.write('output', data)": (False, False),
    "self.send(data)": (False, False),
    "yield data": (False, False),
    "if data > 3: return data": (False, False),
    "return data if data > 3 else None": (False, False),
    "raise StopIteration": (False, False),
}


@pytest.mark.parametrize("work", WORK)
def test_a_return_that_was_forgotten(work: str, tmp_path: Path) -> None:
    methods = "    def double(self, data):\n        return 2 * data\n"
    if "send" in work:
        methods += "    def send(self, data):\n        self.write('output', data)\n"
    text = HEAD + ONE.replace("return {}", work) + methods
    for feeds, told in zip((True, False), WORK[work], strict=True):
        more = "\ngraph.add(A())\n"
        if feeds:
            more = '\ngraph.connect(A(), "output", SimpleFunctionPE(abs), "input")\n'
        (tmp_path / "flow.py").write_text(text + more)
        given = ["-d", '{"A": []}']
        said = kit.command("dispel4py", "simple", "flow.py", *given, cwd=tmp_path).stderr
        note = "flow.py:10: A returns no item and writes none, so nothing comes from its output"
        assert (f"note: {note}" in said) == told, said


def test_a_function_without_return(tmp_path: Path) -> None:
    text = 'def f(x):\n    x * 2\ngraph.connect(Src(), "output", SimpleFunctionPE(f), "input")\n'
    (tmp_path / "flow.py").write_text(HEAD + text)
    said = kit.command("dispel4py", "simple", "flow.py", cwd=tmp_path).stderr
    assert "PE_f returns no item" in said


MISSPELT = {
    "d4pcwl-runner --quilt x.cwl": "--quilt",
    "dispel4py simple flow.py --resluts x": "did you mean --results",
    "d4p2cwl": "SCRIPT",
    "d4pcwl strem": "stream",
    "dispel4py worker": "required",
}


def test_a_script_without_a_mapping_is_told_what_to_type() -> None:
    said = kit.command("dispel4py", "flow.py", code=2).stderr
    assert said == "dispel4py: error: name the mapping first: dispel4py simple flow.py\n"


@pytest.mark.parametrize("command", MISSPELT)
def test_wrong_usage_is_told_with_one_line_of_usage(command: str, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(HEAD + ONE.format("data") + JOIN)
    done = kit.command(*command.split(), cwd=tmp_path, code=2)
    message, usage = done.stderr.splitlines()
    assert MISSPELT[command] in message
    assert usage.startswith("usage: ")
    assert "--help" in usage


@pytest.mark.parametrize("rest", ["", " ", " -x"])
def test_an_argument_too_many(rest: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        Parser(prog="d4pcwl").parse_args([rest])
    assert f"unrecognized arguments: {rest}" in capsys.readouterr().err


TOOL = """\
cwlVersion: v1.2
class: CommandLineTool
baseCommand: echo
inputs:
  message: {type: string?, inputBinding: {}}
  norm: {type: {type: enum, symbols: [mean, max]}, default: mean, inputBinding: {}}
outputs: {}
"""


def test_a_misspelt_key_of_a_job_order_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "tool.cwl").write_text(TOOL)
    (tmp_path / "job.yml").write_text("{mesage: hi, $namespaces: {x: http://x}, a:b: 1}")
    done = kit.command("d4pcwl-runner", "--no-container", "tool.cwl", "job.yml", cwd=tmp_path)
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(warnings) == 1
    told = "tool.cwl has no input 'mesage', so its value is not used; did you mean message?"
    assert warnings[0].endswith(told)


@pytest.mark.parametrize("kind", ["tool", "workflow"])
def test_the_message_about_an_enum_has_no_id_that_was_made_for_it(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "tool.cwl").write_text(TOOL)
    (tmp_path / "wf.cwl").write_text(
        TOOL.replace("CommandLineTool", "Workflow").replace("baseCommand: echo\n", "steps: {}\n")
        .replace(", inputBinding: {}", "")
    )  # fmt: skip
    name = "tool.cwl" if kind == "tool" else "wf.cwl"
    (tmp_path / "job.yml").write_text("{norm: meen}")
    done = kit.command("d4pcwl-runner", "--no-container", name, "job.yml", cwd=tmp_path, code=1)
    assert "'meen' is not a valid norm, expected one of 'mean', 'max'" in done.stderr
    assert not re.search("[0-9a-f]{8}-", done.stderr)


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        ("cwltool", "runner", ["d4pcwl-runner", "tool.cwl"]),
        ("cwltool", "runner", ["cwl2d4p", "tool.cwl"]),
        ("zmq", "zmq", ["dispel4py", "zmq_multi", "flow.py"]),
        ("mpi4py", "mpi", ["dispel4py", "mpi", "flow.py", "-n", "1"]),
    ],
)
def test_a_missing_extra_is_told_by_how_to_install_it(
    module: str, extra: str, command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "tool.cwl").write_text(TOOL)
    (tmp_path / "flow.py").write_text(HEAD + ONE.format("data") + JOIN)
    entry = {"d4pcwl-runner": "runner"}.get(command[0], command[0])
    program = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = {command[1:]!r}\n"
        f"from d4pcwl.cli.{entry} import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f"pip install 'd4pcwl[{extra}]'" in done.stderr, done.stderr
    assert "fault of d4pcwl" not in done.stderr
    assert done.returncode == 2


def test_modules_beside_a_program_that_have_names_of_pythons(tmp_path: Path) -> None:
    for name in ("queue", "glob", "random"):
        (tmp_path / f"{name}.py").write_text(f"NAME = 'own {name}'\n")
    (tmp_path / "program.py").write_text(
        "import queue\nimport d4pcwl, glob\n" + HEAD + "import random\n"
        "graph.add(Src())\nprint(d4pcwl.run(graph, mapping='multi', processes=2))\n"
        "print([result.item for result in d4pcwl.stream(graph)])\n"
        "print(queue.NAME, glob.NAME, random.NAME)\n"
    )
    done = kit.command("python", "program.py", cwd=tmp_path)
    assert done.stdout.splitlines()[-2:] == ["[0, 1, 2, 3, 4]", "own queue own glob own random"]
