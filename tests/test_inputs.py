"""Root inputs: what they may be, and all that is wrong with them in one message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import Plus, Ports, Source, join, named

from d4pcwl.errors import InputError
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.inputs import idle_roots, root_inputs
from d4pcwl.workflow.texts import parse_json
from d4pcwl.workflow.texts import read_file as read_inputs


@pytest.fixture
def graph() -> FlatGraph:
    """Two sources called alike, and two PEs that they feed."""
    first, second, ports = Source([]), Source([]), Ports(2, 1)
    return flatten(
        join(
            (first, "output", ports, "in0"),
            (second, "output", ports, "in1"),
            (ports, "out0", named(Plus(), "end"), "input"),
        )
    )


@pytest.mark.parametrize(
    ("given", "iterations", "expected"),
    [
        (None, 1, {"Source0": 1, "Source2": 1}),
        (None, 5, {"Source0": 5, "Source2": 5}),
        ({}, 2, {"Source0": 2, "Source2": 2}),
        (3, 1, {"Source0": 3, "Source2": 3}),
        (0, 1, {"Source0": 0, "Source2": 0}),
        ({"Source0": 4}, 1, {"Source0": 4}),
        ({"Source0": [{}]}, 1, {"Source0": [{}]}),
        ({"Source0": []}, 1, {"Source0": []}),
        ({"Source2": [{"any": "thing"}]}, 1, {"Source2": [{"any": "thing"}]}),
        ({"end": [{"input": 1}], "Source0": 0}, 1, {"end3": [{"input": 1}], "Source0": 0}),
        ({"Ports1": [{"in0": 1, "in1": 2}]}, 1, {"Ports1": [{"in0": 1, "in1": 2}]}),
    ],
)
def test_what_may_be_given(graph: FlatGraph, given: Any, iterations: int, expected: Any) -> None:
    assert root_inputs(graph, given, iterations) == expected


def test_pe_itself_as_key(graph: FlatGraph) -> None:
    assert root_inputs(graph, {graph.pes[2]: 2}) == {"Source2": 2}
    with pytest.raises(InputError, match="inputs are given for Plus, which is not in the graph"):
        root_inputs(graph, {Plus(): 2})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nonsense": 1}, "no such PE; known: Ports, Source_1, Source_2, end"),
        ({"Source": 1}, "'Source', but several PEs have this name; use Source_1, Source_2"),
        ({"Sources0": 1}, "no such PE; did you mean Source_2"),
        (
            {"end": [{"inptu": 1}]},
            "inputs of end, number 0: end has no input 'inptu'; did you mean in",
        ),
        ({"end": [{"input": 1}, 7]}, "inputs of end, number 1: expected an object .* found 7"),
        ({"end": "text"}, "inputs of end have to be a list of objects .* not 'text'"),
        ({"end": True}, "inputs of end have to be a list of objects .* not True"),
        ({"end": -1}, "inputs of end: -1 iterations"),
        ([1, 2], r"inputs have to be an object from PE name or id .* not \[1, 2\]"),
        ("x" * 100, r"inputs have to be an object .*xxx\.\.\."),
        (False, "inputs have to be an object .* not False"),
        (-1, "the number of iterations is negative: -1"),
    ],
)
def test_what_may_not(graph: FlatGraph, given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        root_inputs(graph, given)


def test_all_faults_in_one_message(graph: FlatGraph) -> None:
    given = {
        "nobody": 1,
        "end": [{"input": 1}, 7, {"a": 1, "b": 2}],
        "Source0": "text",
        "Source2": 1,
    }
    with pytest.raises(InputError) as caught:
        root_inputs(graph, given)
    assert len(str(caught.value).splitlines()) == 5


def test_idle_roots(graph: FlatGraph) -> None:
    assert idle_roots(graph, root_inputs(graph, {"Source2": 1})) == ["Source0"]
    assert idle_roots(graph, root_inputs(graph)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,}', '-d:1:9: not JSON: Expecting property name.*\n    {"a": 1,}\n {12}\\^'),
        ('{\n  "a": tru\n}', '-d:2:8: not JSON: Expecting value\n {6}"a": tru\n {11}\\^'),
        ('{"a": 1,\n', "-d:2:1: not JSON: .*\n    \n    \\^"),
        ("", "-d:1:1: not JSON: Expecting value"),
        ('["\u2028", x]', "-d:1:7: not JSON: Expecting value"),
        ("[" + "1, " * 100 + "]", r"-d:1: not JSON: .* \(column 302\)$"),
    ],
)
def test_json_errors_say_where(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_json(text, "-d")
    assert re.match(message, str(caught.value)), str(caught.value)


def test_files_of_inputs(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    with pytest.raises(InputError, match=r"in\.json: cannot be read: No such file"):
        read_inputs(file)
    file.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"in\.json:1: cannot be read: it is not UTF-8 text"):
        read_inputs(file)
    file.write_text("[")
    with pytest.raises(InputError, match=r"in\.json:1:2: not JSON"):
        read_inputs(file)
    file.write_text('{"é": [1]}', encoding="utf-8")
    assert read_inputs(file) == {"é": [1]}


def test_inputs_may_be_yaml(tmp_path: Path) -> None:
    file = tmp_path / "inputs.yml"
    file.write_text("# a job\nday: 2016-10-30\nitems: [{input: 1.5}, {input: yes}]\n")
    assert read_inputs(file) == {
        "day": "2016-10-30",
        "items": [{"input": 1.5}, {"input": "yes"}],
    }
    file.write_text("a: 1\nb: [1,\n")
    with pytest.raises(InputError, match=r"inputs\.yml:3:1: not YAML: .*expected"):
        read_inputs(file)
    file.write_text("a: 1\na: 2\n")
    with pytest.raises(InputError, match=r"inputs\.yml:2:1: not YAML: .*duplicate"):
        read_inputs(file)
