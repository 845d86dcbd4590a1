"""CWL as text: cwl-format's order of keys, and strings that come back as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from d4pcwl import to_cwl
from d4pcwl.cwl.emit.handover import leave_out_unset, with_texts
from d4pcwl.cwl.emit.text import document_text, yaml_text
from d4pcwl.errors import UsageError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"))


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with kit.own_modules():
        yield


def read(text: str, version: tuple[int, int] = (1, 2)) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version  # type: ignore[assignment]
    return yaml.load(text)


@pytest.mark.parametrize("cut", ["whole", "composite", "abstract"])
def test_the_order_of_keys_is_a_fixed_point_of_cwl_format(cut: str, tmp_path: Path) -> None:
    formatter = pytest.importorskip("cwlformat.formatter")
    script = kit.write_script(
        tmp_path,
        kit.COMPOSITES
        + "\nimport os\nos.getenv('MODE')\n"
        + """
cwl = {
    "image": "x:1", "software": {"a": "1"}, "time_limit": 3, "network": True, "doc": "Two\\nlines",
    "reads": {"a": {"type": "Directory", "doc": "d"}}, "writes": {"a": "Directory", "b": "File"},
    "gpu": {"cuda": "12.0", "capability": "8.0"}, "resources": {"ram": 5},
}
""",
    )
    result = to_cwl(script, cut="whole" if cut == "abstract" else cut, abstract=cut == "abstract")

    def reordered(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: reordered(value) for key, value in formatter.reorder_node(node, [])}
        return [reordered(entry) for entry in node] if isinstance(node, list) else node

    for document in (result.document, *result.files.values()):
        ours = read(document_text(document))
        assert ours == document
        assert json.dumps(ours) == json.dumps(reordered(ours))


def test_the_first_line_makes_it_executable_and_sections_stand_apart() -> None:
    text = document_text(
        {"inputs": [], "class": "CommandLineTool", "outputs": [], "cwlVersion": "v1.2"}
    )
    assert text == (
        "#!/usr/bin/env cwl-runner\ncwlVersion: v1.2\nclass: CommandLineTool\n"
        "\ninputs: []\n\noutputs: []\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "No",
        "on",
        "OFF",
        "y",
        "1:30",
        "-12:30:45.5",
        "null",
        "1e3",
        "~",
        "0x1f",
        "true",
        "1_000",
        "",
        " x ",
        "a: b",
        "# c",
        "2026-01-01",
        "- x",
        "@x",
        "%x",
        "é",
        "x\ny",
        "x\ny\n",
        " x\ny",
        "x \ny",
        "\tx\n",
        "a\x07b",
    ],
)
def test_texts_come_back_as_they_were(text: str) -> None:
    for version in ((1, 1), (1, 2)):
        assert read(yaml_text({"key": text, "list": [text]}), version) == {
            "key": text,
            "list": [text],
        }


@given(TEXTS)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert read(yaml_text({"key": text})) == {"key": text}


def test_paragraphs_are_kept_as_blocks() -> None:
    assert yaml_text({"doc": "One\n\nTwo\n"}) == "doc: |\n  One\n\n  Two\n"


def test_defaults_are_data_and_keep_their_order() -> None:
    text = document_text(
        {"class": "CommandLineTool", "inputs": [{"default": {"z": 1, "id": 2}, "id": "x"}]}
    )
    assert text.index("z: 1") < text.index("id: 2")
    assert text.index("id: x") < text.index("default:")


def test_texts_beside_the_data_are_put_in() -> None:
    data = {"a": [{"input": {"$text": 2}}, {"input": [{"$text": 1}, {"$text": 1, "b": 2}, None]}]}
    assert with_texts(data, ['one "quoted"', "{"]) == {
        "a": [{"input": "{"}, {"input": ['one "quoted"', {"$text": 1, "b": 2}, None]}]
    }


@pytest.mark.parametrize("number", [0, 2, -1, "1", None])
def test_a_text_that_is_not_given_is_told_of(number: object) -> None:
    with pytest.raises(UsageError, match="-d has a place for --text number"):
        with_texts([{"$text": number}], ["one"])


def test_variables_that_are_to_be_absent_are_left_out_where_empty() -> None:
    environ = {"A": "", "B": "b", "C": "", "D4PCWL_UNSET": "A B GONE"}
    leave_out_unset(environ)
    assert environ == {"B": "b", "C": ""}


@pytest.mark.parametrize("kind", ["generic-ordering", "CommandLineTool", "Workflow"])
def test_every_key_that_cwl_format_knows_has_its_place(kind: str) -> None:
    formatter = pytest.importorskip("cwlformat.formatter")
    keys = sorted({*formatter.key_order_dict[kind], "run", "zzz", "a:b"} - {"class"})
    node: dict[str, Any] = dict.fromkeys(keys, 1)
    if kind != "generic-ordering":
        node["class"] = kind
    ours = read(document_text(node))
    assert list(ours) == list(dict(formatter.reorder_node(node, [])))  # it gives some keys twice


def test_keys_that_others_take_for_booleans_are_quoted() -> None:
    assert yaml_text({"y": 1, "on": [{"no": None}]}) == '"y": 1\n"on":\n  - "no":\n'


def test_each_scalar_is_spelled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ruamel.yaml import YAML

    spelled, dump = list[Any](), YAML.dump
    monkeypatch.setattr(
        YAML, "dump", lambda self, data, out: spelled.append(data) or dump(self, data, out)
    )
    text = yaml_text(
        [{"a b": "x: y", "n": number % 3, "word": f"plain{number}"} for number in range(500)]
    )
    assert len(read(text)) == 500
    assert len(spelled) < 10


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=8)
        | st.sampled_from(
            [
                "\x85",
                "a\u2028b",
                "a\n\u2028b",
                "a\nb\n",
                "\n",
                " a\n b",
                "a: b",
                "- a",
                "yes",
                "1e3",
                "a" * 200,
            ]
        ),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=4) | st.just("k" * 150), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_nested_data_come_back(value: Any) -> None:
    assert read(yaml_text({"top": value})) == {"top": value}
