"""Scripts, and helpers to compile and run them, for the tests of the compiler and the commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HEAD = """\
from dispel4py.base import CompositePE, ConsumerPE, IterativePE, ProducerPE
from dispel4py.core import GenericPE
from dispel4py.workflow_graph import WorkflowGraph


def named(pe, name):
    pe.name = name
    return pe
"""

CHAIN = (
    HEAD
    + """
class Numbers(ProducerPE):
    def _process(self, inputs):
        print("counting")
        for number in range(5):
            self.write("output", number)


class Double(IterativePE):
    \"\"\"Doubles its items.\"\"\"

    def _process(self, data):
        return 2 * data


numbers, double = Numbers(), Double()
graph = WorkflowGraph()
graph.connect(numbers, "output", double, "input")
"""
)

WORDS = (
    '"""Count words\n\nOf lines, keyed by word.\n"""\n'
    + HEAD
    + """
class Lines(ProducerPE):
    def _process(self, inputs):
        for number in range(20):
            self.write("output", f"the cat {number % 7} saw the dog {number % 3}")


class Split(IterativePE):
    def _process(self, line):
        for word in line.split():
            self.write("output", (word, 1))


class Count(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.counts = {}

    def process(self, inputs):
        word, number = inputs["input"]
        self.counts[word] = self.counts.get(word, 0) + number

    def _postprocess(self):
        for word in sorted(self.counts):
            self.write("output", [word, self.counts[word]])


graph = WorkflowGraph()
lines, split, count = Lines(), Split(), Count()
graph.connect(lines, "output", split, "input")
graph.connect(split, "output", count, "input")
"""
)

DIAMOND = (
    HEAD
    + """
class Source(ProducerPE):
    def _process(self, inputs):
        for number in range(12):
            self.write("output", number)


class Plus(IterativePE):
    def _process(self, data):
        return data + 100


class Minus(IterativePE):
    def _process(self, data):
        return data - 100


class Join(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input("left")
        self._add_input("right")
        self._add_output("output")

    def process(self, inputs):
        for port, item in inputs.items():
            self.write("output", [port, item])


graph = WorkflowGraph()
source, plus, minus, join = Source(), Plus(), Minus(), Join()
graph.connect(source, "output", plus, "input")
graph.connect(source, "output", minus, "input")
graph.connect(plus, "output", join, "left")
graph.connect(minus, "output", join, "right")
"""
)

TWO_EDGES = (
    HEAD
    + """
class Source(ProducerPE):
    def __init__(self):
        super().__init__()
        self._add_output("other")

    def _process(self, inputs):
        for number in range(4):
            self.write("output", number)
            self.write("other", -number)


class Sink(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input("first")
        self._add_input("second")
        self._add_output("seen")

    def process(self, inputs):
        for port, item in inputs.items():
            self.write("seen", [port, item])


graph = WorkflowGraph()
source, sink = Source(), Sink()
graph.connect(source, "output", sink, "first")
graph.connect(source, "other", sink, "second")
graph.connect(source, "output", sink, "second")
"""
)

COMPOSITES = (
    HEAD
    + """
class Source(ProducerPE):
    def _process(self, inputs):
        for number in range(6):
            self.write("output", number)


class Add(IterativePE):
    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def _process(self, data):
        return data + self.amount


class Inner(CompositePE):
    def __init__(self):
        CompositePE.__init__(self)
        first, second = named(Add(1), "one"), named(Add(10), "ten")
        self.connect(first, "output", second, "input")
        self._map_input("input", first, "input")
        self._map_output("output", second, "output")


class Outer(CompositePE):
    \"\"\"Adds eleven, and then a thousand\"\"\"

    def __init__(self):
        CompositePE.__init__(self)
        inner, last = Inner(), named(Add(1000), "thousand")
        self.connect(inner, "output", last, "input")
        self._map_input("input", inner, "input")
        self._map_output("output", last, "output")


graph = WorkflowGraph()
source, outer, other = Source(), Outer(), Inner()
graph.connect(source, "output", outer, "input")
graph.connect(outer, "output", other, "input")
graph.partitions = [[source]]
"""
)

ROOTS = (
    HEAD
    + """
class Scale(IterativePE):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def _process(self, data):
        return data * self.factor


class Merge(IterativePE):
    def _process(self, data):
        return [data]


graph = WorkflowGraph()
left, right, merge = named(Scale(2), "left"), named(Scale(3), "right"), Merge()
graph.connect(left, "output", merge, "input")
graph.connect(right, "output", merge, "input")
"""
)

WRITERS = (
    HEAD
    + """
class Source(ProducerPE):
    def _process(self, inputs):
        for number in range(9):
            self.write("output", number)


class Total(IterativePE):
    def __init__(self):
        super().__init__()
        self.total = 0
        self._add_output("late")

    def _process(self, data):
        self.total += data

    def _postprocess(self):
        self.write("output", self.total)
        self.write("late", "over")


class Show(IterativePE):
    def _process(self, data):
        return f"total {data}"

    def _postprocess(self):
        self.write("output", "end")


graph = WorkflowGraph()
source, total, show = Source(), Total(), Show()
graph.connect(source, "output", total, "input")
graph.connect(total, "output", show, "input")
"""
)

ARRAYS = (
    HEAD
    + """
import numpy as np


class Source(ProducerPE):
    def _process(self, inputs):
        for kind in ("<f8", ">i2", "c16", "?", "M8[ms]"):
            self.write("output", {"kind": kind, "array": np.arange(6).astype(kind).reshape(2, 3)})
        self.write("output", np.float32(0.1))


class Sink(IterativePE):
    def _process(self, data):
        array = data["array"] if isinstance(data, dict) else data
        return [type(array).__name__, str(array.dtype), array.shape, array.tobytes().hex()]


graph = WorkflowGraph()
source, sink = Source(), Sink()
graph.connect(source, "output", sink, "input")
"""
)

VALUES = (
    HEAD
    + """
ITEMS = [
    (1, (2, "three")), {4, 5}, frozenset({"six"}), b"\\x00\\xff", bytearray(b"7"), None, 0, "", [],
    True, -0.0, float("inf"), 2**70, {"a": (None,), 3: b"x"}, "z\\u00fcrich \\n", 1 + 2j,
]


class Source(ProducerPE):
    def _process(self, inputs):
        for item in ITEMS:
            if item is not None:
                self.write("output", item)
        self.write("output", [None])


class Sink(IterativePE):
    def _process(self, data):
        return repr(data)


graph = WorkflowGraph()
source, sink = Source(), Sink()
graph.connect(source, "output", sink, "input")
"""
)

ROOT_INPUTS = {"left": [{"input": 1}, {"input": 2}], "right": [{"input": "ab"}]}


def write_script(folder: Path, text: str, name: str = "flow.py", **others: str) -> Path:
    """A script in ``folder``, and other files (``__`` in a name stands for a dot)."""
    folder.mkdir(parents=True, exist_ok=True)
    for other, content in others.items():
        path = folder / other.replace("__", ".")
        path.write_text(content, encoding="utf-8")
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def command(
    *arguments: object,
    cwd: Path | None = None,
    code: int | None = 0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment; ``code`` is the exit code that it must have."""
    program, *rest = map(str, arguments)
    found = shutil.which(program, path=with_commands()["PATH"])
    assert found, f"{program} is not installed"
    done = subprocess.run(
        [found, *rest],
        cwd=cwd,
        env={**os.environ, **with_commands(), **(env or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    if code is not None:
        assert done.returncode == code, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


def with_commands() -> dict[str, str]:
    """What the environment needs so that this environment's commands are found."""
    return {"PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]}


def cwltool(
    document: Path, job: Path | Mapping[str, Any] | None, out: Path, code: int = 0
) -> tuple[dict[str, Any], str]:
    """Run a document from a folder where nothing is; its outputs and what it said."""
    out.mkdir(parents=True)
    arguments: list[object] = [document]
    if isinstance(job, Mapping):
        path = out.with_suffix(".job.json")
        path.write_text(json.dumps(job), encoding="utf-8")
        arguments.append(path)
    elif job is not None:
        arguments.append(job)
    done = command("cwltool", "--no-container", "--outdir", out, *arguments, cwd=out, code=code)
    return json.loads(done.stdout or "{}"), done.stderr


def validate(document: Path) -> None:
    """``cwltool --validate``, which has nothing to say."""
    said = command("cwltool", "--validate", document, cwd=Path("/"))
    text = said.stdout + said.stderr
    assert "is valid CWL" in text
    assert "WARN" not in text.upper(), text


def lines_of(paths: Iterable[Path]) -> list[str]:
    """The result lines of several files, in no order that matters."""
    return sorted(line for path in paths for line in path.read_text("utf-8").splitlines())


def by_id(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {entry["id"]: entry for entry in entries}


def by_class(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {entry["class"]: entry for entry in entries}


@contextmanager
def own_modules() -> Iterator[None]:
    """Scripts that are loaded inside leave no module and no folder on the import path behind."""
    path, modules = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            ours = name.startswith(("d4pcwl", "dispel4py"))
            if not ours and not file.startswith((sys.prefix, os.path.dirname(os.__file__))):
                del sys.modules[name]
