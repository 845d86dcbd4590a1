"""YAML, JSON and CWL of whoever: one line with file and line, whatever is in them."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from d4pcwl.cli.cwl2d4p import main as cwl2d4p
from d4pcwl.cli.dispel4py import main as dispel4py
from d4pcwl.cli.main import main as d4pcwl
from d4pcwl.cwl.importing.cwltool.document import Document
from d4pcwl.cwl.importing.cwltool.joborder import initial_inputs, read_job_order, read_jobs
from d4pcwl.cwl.importing.cwltool.settings import Settings
from d4pcwl.errors import InputError, UnreadableText
from d4pcwl.workflow.texts import MAX_DEPTH, parse_json, parse_yaml, read_file

LAUGH = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
CHAIN = "a0: &a0 []\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 400))
TOOL = "cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\ninputs: []\noutputs: []\n"

YAML_FAULTS = {
    "alias bomb": (LAUGH, ":5:.* with its aliases and imports in place, this text is too large"),
    "long alias bomb": (f"a: &a {'x' * 50_000}\nb: [{'*a, ' * 80}]\n", ":2:.* aliases and"),
    "merged bomb": (LAUGH + "z: {<<: *h}\n", "aliases and imports"),
    "alias cycle": ("a: &a\n  b: [1, *a]\n", ":2:10: \\*a contains itself"),
    "keyed alias cycle": ("? &a [*a]\n: 1\n", ":1:7: \\*a contains itself"),
    "deep by aliases": (CHAIN, ":15\\d:.*nested deeper"),
    "deep": ("a: " + "[" * 400, ":1:153: nested deeper than 150"),
    "deep objects": ("{a: " * 200 + "1" + "}" * 200, ":1:.*nested deeper"),
    "deep blocks": ("".join(" " * n + "a:\n" for n in range(400)), ":151:.*nested deeper"),
    "deep dashes": ("- " * 400 + "a", ":1:301: nested deeper"),
    "deep keys": ("? " * 400 + "a", "nested deeper"),
    "many digits": ("a:\n  - " + "7" * 5000, ":2:5: an integer of 5000 digits"),
    "digits apart": ("a: " + "7_7" * 2000, "an integer of 6000 digits"),
    "many minutes": ("%YAML 1.1\n---\na: " + "1" + ":10" * 5000, "a number of 15001 digits"),
    "infinity": ("a: .inf", ":1:4: .inf is not a number"),
    "minus infinity": ("[-.INF]", "-.INF is not a number"),
    "nan": ("a: {b: .NaN}", "is not a number"),
    "exponent": ("a: 9e999", ":1:4: 9e999 is too large"),
    "exponent with a point": ("a: -1.5E+400", "is too large"),
    "digits of a float": ("a: " + "9" * 400 + ".5", "is too large"),
    "key twice": ("a: 1\nb: 2\na: 3\n", ":3:1: not YAML: found duplicate key"),
    "int": ("a: !!int abc", ":1:4: 'abc' is not a valid int"),
    "int of blanks": ("a: !!int ''", "'' is not a valid int"),
    "float": ("a: !!float x", "'x' is not a valid float"),
    "infinite float": ("a: !!float 1e999", "too large"),
    "bool": ("a: !!bool perhaps", "'perhaps' is not a valid bool"),
    "null": ("a: !!null 3", "'3' is not a valid null"),
    "python": ("a: !!python/object/apply:os.system [ls]", ":1:4: the tag .*os.system"),
    "own tag": ("a: !mine 3", "the tag !mine"),
    "own tag of a list": ("!mine [3]", "the tag !mine"),
    "tag of a list": ("a: !!int [3]", "the tag .*int"),
    "unknown alias": ("a: &b 1\nb: *c", ":2:4: not YAML: found undefined alias"),
    "zero byte": ("a: 1\nb: '\x00'", ":2: not text: it holds the character '\\\\x00'"),
    "escape": ("a: \x1b[31m", ":1: not text"),
    "empty": ("", ": is empty"),
    "comment": ("# nothing\n\n", ": is empty"),
    "tab": ("a:\n\t- b", ":2:1: not YAML"),
}


@pytest.mark.parametrize("name", YAML_FAULTS)
def test_yaml_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    text, message = YAML_FAULTS[name]
    path = tmp_path / "in.yml"
    path.write_text(text)
    with pytest.raises(UnreadableText, match=message) as found:
        read_file(path)
    assert str(found.value).startswith(f"{path}:")
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize("name", YAML_FAULTS)
def test_so_are_documents_and_job_orders(name: str, tmp_path: Path) -> None:
    text, _ = YAML_FAULTS[name]
    for path, read in (
        (tmp_path / "in.cwl", lambda: Document(str(tmp_path / "in.cwl"), Settings()).process),
        (tmp_path / "job.yml", lambda: read_job_order(str(tmp_path / "job.yml"), "x.cwl")),
    ):
        path.write_text(text)
        with pytest.raises(UnreadableText) as found:
            read()
        assert str(found.value).startswith(f"{path}:")
        assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize("tag", ["set [a]", "omap 3", "pairs {}"])
def test_tags_that_have_other_values(tag: str) -> None:
    with pytest.raises(UnreadableText, match=r"^f\.yml:1"):
        parse_yaml(f"a: !!{tag}", "f.yml")


YAML_VALUES = {
    "a: !!int 3\nb: !!float 3\nc: !!str 3": {"a": 3, "b": 3.0, "c": "3"},
    "a: !!null\nb: !!bool Yes\nc: !!map {}\nd: !!seq []": {"a": None, "b": True, "c": {}, "d": []},
    "base: &b {x: 1}\nall: [*b, *b, {<<: *b, y: 2}]": {
        "base": {"x": 1},
        "all": [{"x": 1}, {"x": 1}, {"x": 1, "y": 2}],
    },
    f"a: '{'7' * 5000}'\nb: 1e300\nc: '.inf'\nd: 2020-01-01": {
        "a": "7" * 5000,
        "b": 1e300,
        "c": ".inf",
        "d": "2020-01-01",
    },
    "a: !!binary aGk=\nb: !!set {x}": {"a": b"hi", "b": {"x"}},
    "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1): None,
    "\ufeffa: |\n  ${ return [[[[ &a *a !x; }\n": {"a": "${ return [[[[ &a *a !x; }\n"},
    "0x" + "f" * 6000: int("f" * 6000, 16),
}


@pytest.mark.parametrize("text", YAML_VALUES, ids=range(len(YAML_VALUES)))
def test_other_yaml_is_what_it_was(text: str) -> None:
    found = parse_yaml(text, "f.yml")
    expected = YAML_VALUES[text]
    assert expected is None or found == expected


JSON_FAULTS = {
    "nan": ('{"a":\n [NaN]}', ":2:3: not JSON: NaN is not a number\n     \\[NaN\\]}\n      \\^"),
    "infinity": ("[-Infinity]", ":1:2: not JSON: -Infinity is not a number"),
    "exponent": ('{"a": "9e999", "b": 9e999}', ":1:21: 9e999 is too large"),
    "key twice": ('{"a": {"b": 1,\n"c": [{"b": 1}], "b": 2}}', ":2:18: the key 'b' is there twice"),
    "key twice, escaped": ('{"a": 1, "\\u0061": 2}', ":1:10: the key 'a' is there twice"),
    "deep": ("[" * 2000 + "]" * 2000, ":1: nested deeper .*\\(column 151\\)"),
    "deeper": ("[" * 200_000, ":1: nested deeper"),
    "deep objects": ('{"a":' * 200 + "1" + "}" * 200, ":1: nested deeper"),
    "many digits": ("[1, " + "7" * 5000 + "]", ":1: an integer of 5000 digits"),
    "digits of a float": ("9" * 400 + ".5", ":1: 9+ is too large"),
}


@pytest.mark.parametrize("name", JSON_FAULTS)
def test_json_is_refused_with_its_place(name: str) -> None:
    text, message = JSON_FAULTS[name]
    with pytest.raises(UnreadableText, match="^-d" + message):
        parse_json(text, "-d")
    with pytest.raises(UnreadableText, match=r"^-d:[78]"):
        parse_json(text, "-d", 7)


def test_other_json_is_what_it_was() -> None:
    text = (
        '{"a": [1e300, "[[[[", "NaN", {"a": {}}], "b": -0.0, "c": 123456789012345678901234567890}'
    )
    assert parse_json(text, "-d") == json.loads(text)
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(deep, "-d") == json.loads(deep)


def test_lines_of_jobs_are_told_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "jobs"
    path.write_text('{"a": 1}\n\n{"a": 1, "a": 2}\n')
    with pytest.raises(InputError, match="jobs:3:10: the key 'a' is there twice"):
        list(read_jobs(str(path), "x.cwl"))


def loaded(path: Path) -> str:
    """The message by which a document is refused."""
    with pytest.raises(UnreadableText) as found:
        _ = Document(str(path), Settings()).process
    assert len(str(found.value).splitlines()) == 1
    return str(found.value)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.cwl").write_text(text)
    return folder / f"{next(iter(files))}.cwl"


def importing(reference: str) -> str:
    return TOOL.replace("inputs: []", f"inputs: {{$import: '{reference}'}}")


def running(document: str) -> str:
    return (
        "cwlVersion: v1.2\nclass: Workflow\nrequirements: {SubworkflowFeatureRequirement: {}}\n"
        f"inputs: []\noutputs: []\nsteps: {{a: {{run: '{document}', in: [], out: []}}}}\n"
    )


@pytest.mark.parametrize("key", ["$import", "$mixin", "$imp\\u006frt", "$im\\\n      port"])
def test_a_document_that_imports_itself(tmp_path: Path, key: str) -> None:
    text = TOOL.replace("inputs: []", f'inputs: {{"{key}": a.cwl}}')
    path = write(tmp_path, a=text)
    assert loaded(path).startswith(f"{path}:")
    assert "imports itself" in loaded(path)


def test_documents_that_import_each_other(tmp_path: Path) -> None:
    path = write(
        tmp_path, a=importing("b.cwl"), b="[{$import: c.cwl}]", c="- 1\n- {$import: a.cwl#x}\n"
    )
    assert loaded(path) == (
        f"{tmp_path}/c.cwl:2: imports {tmp_path}/a.cwl, which imports it in turn"
    )


def test_a_part_that_imports_itself(tmp_path: Path) -> None:
    path = write(tmp_path, a=importing("#main").replace("class:", "id: main\nclass:"))
    assert "#main contains itself" in loaded(path)


def test_a_key_that_an_alias_stands_for(tmp_path: Path) -> None:
    path = write(tmp_path, a=TOOL + "doc: [&k $import, &v a.cwl]\nhints: {? *k : *v}\n")
    assert "imports itself" in loaded(path)


def test_imports_that_multiply(tmp_path: Path) -> None:
    files = {f"f{n}": f"[{f'{{$import: f{n + 1}.cwl}}, ' * 10}]" for n in range(8)}
    path = write(tmp_path, a=importing("f0.cwl"), **files, f8="[x]")
    assert "with its aliases and imports in place, this text is too large" in loaded(path)


def test_a_large_import_is_no_bomb(tmp_path: Path) -> None:
    (tmp_path / "big.yml").write_text("".join(f"- a{'x' * 50}{n}\n" for n in range(70_000)))
    fetch: Any = Settings().loading().fetcher_constructor
    text = "a: {$import: big.yml}\nb: {$import: big.yml}\n"
    (tmp_path / "a.yml").write_text(text)
    fetcher = fetch({}, None)
    assert fetcher.fetch_text((tmp_path / "a.yml").as_uri(), content_types=None) == text


def test_a_workflow_that_runs_itself(tmp_path: Path) -> None:
    path = write(tmp_path, a=running("a.cwl"))
    assert loaded(path) == f"{path}: runs itself: {path} -> {path}"


def test_workflows_that_run_each_other(tmp_path: Path) -> None:
    path = write(tmp_path, a=running("b.cwl"), b=running("c.cwl"), c=running("b.cwl"))
    b, c = tmp_path / "b.cwl", tmp_path / "c.cwl"
    assert loaded(path) == f"{b}: runs itself: {b} -> {c} -> {b}"


def test_a_packed_workflow_that_runs_itself(tmp_path: Path) -> None:
    text = running("#other").replace("class:", "id: main\n  class:", 1)
    main = "- " + "\n  ".join(
        text.replace("cwlVersion: v1.2\n", "").replace("\n  ", "\n").split("\n")
    )
    other = main.replace("id: main", "id: other").replace("#other", "#main")
    path = write(tmp_path, a=f"cwlVersion: v1.2\n$graph:\n{main}\n{other}\n")
    assert "a.cwl#main -> " in loaded(path)


def test_what_is_run_is_looked_at_too(tmp_path: Path) -> None:
    path = write(tmp_path, a=running("b.cwl"), b=TOOL + "doc: [1, .nan]\n")
    assert loaded(path) == f"{tmp_path}/b.cwl:6:10: .nan is not a number; give it as a text"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "expected an object with class and cwlVersion, found a list"),
        ("just a text", "cwlVersion, found a single value"),
        ("{}\n---\n", "cwlVersion"),
        (importing("/etc/hostname"), "not valid CWL"),
        ("{1: 2, null: 3, [a]: 4}", "a.cwl: "),
        ("cwlVersion: v1.2\nclass: [1]\n", "a.cwl: "),
        ("cwlVersion: [v1.2]\n", "a.cwl: "),
        (TOOL.replace("inputs: []", "inputs: 3"), "a.cwl: "),
        (running("b.cwl").replace("in: []", "in: {1: [2]}"), "a.cwl: "),
        (running("b.cwl").partition("{a:")[0] + "3\n", "a.cwl: "),
        (running("b.cwl").partition("{a:")[0] + "[b]\n", "a.cwl: "),
        (TOOL + "$namespaces: 3\n", "a.cwl: "),
        (TOOL + "$graph: 3\n", "a.cwl: "),
        (TOOL + "$schemas: {a: b}\n", "a.cwl: "),
        (importing("/dev/zero"), "it has no end"),
    ],
)
def test_documents_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, a=text, b=TOOL)
    with pytest.raises(InputError, match=message):
        _ = Document(str(path), Settings()).process


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cwl:requirements: [3]", "cwl:requirements: expected a list of objects"),
        ("cwl:requirements: {NetworkAccess: b}", "each with the key class"),
        ("cwltool:overrides: {a.cwl: 3}", "each with the key overrideTarget"),
        ("cwltool:overrides: {a.cwl: {requirements: 3}}", "overrides: requirements: expected"),
        ("a: {class: File, location: 3}", "location of a File: expected a text, not 3"),
        ("a: {class: File, path: a.cwl, location: null, size: 3, contents: [a]}", "contents of a"),
        ("a: {class: File, contents: 3}", "contents of a File: expected a text, not 3"),
        ("a: {class: File, location: 'http://[x'}", "Invalid IPv6 URL"),
    ],
)
def test_job_orders_of_another_form(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, a=TOOL, b=text)
    process = Document(str(path), Settings()).process
    with pytest.raises(InputError, match=message):
        initial_inputs(read_job_order(str(tmp_path / "b.cwl"), str(path)), process)


def test_what_is_included_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "lib.js").write_text("function f() { return [[ '\x1b' " + "{" * 300)
    path = write(
        tmp_path,
        a=TOOL.replace(
            "inputs",
            "requirements:\n  InlineJavascriptRequirement: {expressionLib: [{$include: lib.js}]}\n"
            "inputs",
            1,
        ),
    )
    process = Document(str(path), Settings()).process
    assert "{{{" in process.requirements[0]["expressionLib"][0]


COMMANDS = {
    "d4pcwl-runner": lambda path: ["d4pcwl.cli.runner", str(path)],
    "cwl2d4p": lambda path: ["d4pcwl.cli.cwl2d4p", str(path)],
    "d4pcwl graph": lambda path: ["d4pcwl", "graph", str(path)],
    "job order": lambda path: ["d4pcwl.cli.runner", str(path.with_name("tool.cwl")), str(path)],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_say_a_line_and_exit_2(command: str, tmp_path: Path) -> None:
    (tmp_path / "tool.cwl").write_text(TOOL)
    path = write(tmp_path, bad="a: &a [*a]\n")
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[command](path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    name = command if command in ("d4pcwl-runner", "cwl2d4p") else ""
    assert f"{path}:1:8: *a contains itself" in done.stderr
    assert done.stderr.startswith(name)
    assert len(done.stderr.splitlines()) == 1


def test_a_job_order_on_standard_input(tmp_path: Path) -> None:
    path = write(tmp_path, tool=TOOL)
    done = subprocess.run(
        [sys.executable, "-m", "d4pcwl.cli.runner", str(path), "-"],
        input=LAUGH,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("d4pcwl-runner: error: standard input:5:")


@pytest.mark.parametrize("given", ["-d", "-f"])
def test_inputs_of_scripts(given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flow.py").write_text("x = 1\n")
    (tmp_path / "in.json").write_text('{"a": 1, "a": 2}')
    value = '{"a": 1, "a": 2}' if given == "-d" else str(tmp_path / "in.json")
    assert dispel4py(["simple", str(tmp_path / "flow.py"), given, value]) == 2
    assert capsys.readouterr().err


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_is_taken_as_it_is(value: Any) -> None:
    assert parse_json(json.dumps(value), "-d") == value


SNIPPETS = [
    "&a ",
    "*a",
    "&b ",
    "*b",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "\n  ",
    ", ",
    "? ",
    "!!int ",
    "!!str ",
    "!x ",
    "<<: ",
    "'",
    '"',
    "a",
    "1",
    ".inf",
    "1e999",
    "#",
    "|",
    ">",
    "%YAML 1.1\n",
    "---\n",
    "$import",
    "\\",
    "0x",
    "_",
    "1:30",
    "~",
    "\t",
    "é",
    "\x00",
    "...\n",
    "@",
    "`",
    "=",
    "9" * 5000,
]


@pytest.mark.parametrize("seed", range(3))
def test_fuzz(seed: int) -> None:
    rng = random.Random(seed)
    for case in range(300):
        text = "".join(rng.choice(SNIPPETS) for _ in range(rng.randint(1, 25)))
        for read in (parse_yaml, parse_json):
            told = "f:"
            try:
                read(text, "f")
            except UnreadableText as error:
                told = str(error)
            except Exception as error:
                raise AssertionError(
                    f"seed {seed}, case {case}: {read.__name__} {text!r}"
                ) from error
            assert told.startswith("f:"), (seed, case, text)


def test_a_quick_look_misses_nothing() -> None:
    from d4pcwl.workflow import texts

    for name, (text, _) in YAML_FAULTS.items():
        with contextlib.suppress(YAMLError):  # what is no YAML is refused by whoever parses it
            events = list(YAML(typ="safe", pure=True).parse(text))
            assert len(events) < 4 or texts._is_suspect(text, False) or "twice" in name, name


def test_cwl2d4p_and_graph_in_this_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, a=running("a.cwl"))
    assert cwl2d4p([str(path)]) == 2
    assert d4pcwl(["graph", str(path)]) == 2
    assert [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "cwl2d4p",
        "d4pcwl",
    ]


def test_json_with_a_byte_order_mark_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnreadableText, match="begins with a byte order mark; save it as UTF-8"):
        parse_json('\ufeff{"a": 1}', "a.json")
