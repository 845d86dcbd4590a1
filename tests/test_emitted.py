"""Whatever is emitted is CWL: a property over generated scripts, with cwltool's own checks.

``CASES=500 python -m pytest tests/test_emitted.py`` tries more scripts than the suite does.
"""

from __future__ import annotations

import logging
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest

from d4pcwl import to_cwl
from d4pcwl.cwl.emit.references import wrong_references
from d4pcwl.errors import GraphError

NAMES = [
    "P", "x", "a-b", "a_b", "a b", "2018-10-02", "main", "script", "mapping", "results", "printed",
    "shard", "shards", "input_file", "iterations", "written", "help", "job_order", "é-ü", "$(x)",
    "${y}", "-n", "a,b", "a.b", "__", "count.txt", "self", "null", "inputs", "CORPUS", "data",
]  # fmt: skip
FILES = [
    "a-b.txt", "a_b.txt", "data/2018-10-02.txt", "data/x y.csv", "script", "results.jsonl", "P",
    "count.txt", "deep/er/one.json", "main", "mapping", "weird[1].txt", "Ünïcode.txt",
]  # fmt: skip
STATEMENTS = [
    "open({file!r}).read()",
    "open({file!r}, 'w').write('x')",
    "open({file!r}, 'a').write('x')",
    "open({file!r} + str(data) + '.txt', 'w')",
    "open('result_%s.txt' % data, 'w')",
    "open(f'OUT/{{data}}/{file}', 'w')",
    "open(os.path.join(ROOT, 'r_{{}}.txt'.format(data)), 'w')",
    "open(str(data), 'w')",
    "open(os.environ['CORPUS'])",
    "glob.glob(os.path.join(os.environ['a-b'], '*.txt'))",
    "open(os.environ.get('OUT', 'out') + '/' + str(data), 'w')",
    "os.environ.get({name!r}, '1')",
    "os.makedirs('made/here', exist_ok=True)",
    "open(data)",
    "self.total = getattr(self, 'total', 0) + 1",
    "sys.argv",
]
GROUPINGS = ["None", "[0]", "'global'", "'all'", "'input'"]


def generated(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A script, and options to compile it by."""
    count = chance.randint(1, 6)
    lines = [kit.HEAD, "import glob, os, sys", "ROOT = './OUTPUT/'"]
    for number in range(count):
        ins = 0 if number == 0 and chance.random() < 0.6 else chance.randint(1, 2)
        inputs = chance.sample(NAMES, ins)
        outputs = chance.sample(NAMES, chance.randint(1, 2))
        body = [
            s.format(file=chance.choice(FILES), name=chance.choice(NAMES))
            for s in chance.sample(STATEMENTS, chance.randint(0, 4))
        ]
        lines += [
            f"class C{number}(GenericPE):",
            "    def __init__(self):",
            "        super().__init__()",
            *(
                f"        self._add_input({i!r}, grouping={chance.choice(GROUPINGS)})"
                for i in inputs
            ),
            *(f"        self._add_output({o!r})" for o in outputs),
            "    def process(self, inputs):",
            f"        data = inputs[{inputs[0]!r}]" if inputs else "        data = 1",
            *(f"        {statement}" for statement in body),
            f"        return {{{outputs[0]!r}: data}}",
            f"pe{number} = named(C{number}(), {chance.choice(NAMES)!r})",
        ]
        if chance.random() < 0.3:
            kind = chance.choice(["File", "File?", "File[]", "Directory", "Directory?"])
            use = {"type": kind} | ({} if kind == "File[]" else {"path": chance.choice(FILES)})
            place = chance.choice(["reads", "writes"])
            lines.append(f"pe{number}.cwl = {{{place!r}: {{{chance.choice(NAMES)!r}: {use!r}}}}}")
        if not inputs:
            continue
        if number and chance.random() < 0.2:
            kind = chance.choice(["File", "int", "string[]", "Any[]", "boolean"])
            lines.append(f"pe{number}.cwl = {{'inputs': {{{inputs[0]!r}: {kind!r}}}}}")
    lines += ["graph = WorkflowGraph()", *(f"graph.add(pe{n})" for n in range(count))]
    for target in range(1, count):
        for source in chance.sample(range(target), chance.randint(0, min(2, target))):
            lines += [
                f"own = vars(pe{target}).get('cwl', ())",
                f"if pe{target}.inputconnections and 'inputs' not in own:",
                f"    graph.connect(pe{source}, [*pe{source}.outputconnections][0],"
                f" pe{target}, [*pe{target}.inputconnections][-1])",
            ]
    options = chance.choice([{}, {"cut": "pe"}, {"shards": 2}, {"cut": "pe", "shards": 3}])
    return "\n".join(lines) + "\n", dict(options)


class Heard(logging.Handler):
    """What cwltool warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Callable[[object], list[str]]]:
    """``cwltool --validate``, in this process: what it says of a document."""
    from cwltool.context import LoadingContext
    from cwltool.load_tool import load_tool
    from cwltool.workflow import default_make_tool

    heard = Heard()
    loggers = [logging.getLogger(name) for name in ("cwltool", "salad")]
    for logger in loggers:
        logger.addHandler(heard)

    def validated(document: object) -> list[str]:
        path = tmp_path / "emitted.cwl"
        path.write_text(str(document), encoding="utf-8")
        context = {"strict": True, "do_validate": True, "construct_tool_object": default_make_tool}
        load_tool(str(path), LoadingContext(context))
        return heard.said

    yield validated
    for logger in loggers:
        logger.removeHandler(heard)


def processes(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document.get("$graph") or [document]


CASES = int(os.environ.get("CASES", "16"))


@pytest.mark.parametrize("seed", range(CASES))
def test_whatever_is_emitted_is_cwl(
    tmp_path: Path, seed: int, check: Callable[[object], list[str]]
) -> None:
    text, options = generated(random.Random(seed))
    script = kit.write_script(tmp_path / "home", text)
    for name in FILES:
        place = script.parent / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("1")
    with kit.own_modules():
        try:
            compiled = to_cwl(script, folder=tmp_path, **options)
        except GraphError as refusal:  # a grouping that a port cannot have
            pytest.skip(str(refusal))
    assert check(compiled) == []
    for process in processes(compiled.document):
        ids = [
            entry["id"] for key in ("inputs", "outputs", "steps") for entry in process.get(key, ())
        ]
        assert len(ids) == len(set(ids)), ids
        assert all(re.fullmatch("[A-Za-z0-9_]+", each) for each in ids), ids
        if process["class"] == "CommandLineTool":
            assert not list(wrong_references(process))
