"""The gallery: its page agrees with the declarations of examples, and what it runs is checked."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from d4pcwl.runtime.mappings.registry import BUILT_IN

ROOT = Path(__file__).parent.parent


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "scripts" / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gallery", module)
    spec.loader.exec_module(module)
    return module


def test_the_page_agrees_with_the_declarations(gallery: Any) -> None:
    text = gallery.PAGE.read_text(encoding="utf-8")
    found = gallery.examples()
    outcomes, cores = gallery.outcomes_of(text)
    assert gallery.page(found, outcomes, cores) == text
    for example in found:
        assert [one.by for one in outcomes[example.title]] == list(gallery.ways(example))
        assert example.mapping in BUILT_IN
        assert (gallery.EXAMPLES / example.name / example.graph).is_file()
    pictures = {name for example in found for name in gallery.shown(example)}
    assert {path.name for path in gallery.PICTURES.iterdir()} == pictures


@pytest.fixture
def example(gallery: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An example that writes a number, and checks it."""
    monkeypatch.setattr(gallery, "EXAMPLES", tmp_path / "examples")
    (tmp_path / "examples" / "two").mkdir(parents=True)
    return gallery.Example(
        name="two",
        title="Two",
        about="It writes the number 2.",
        graph="two.py",
        mapping="simple",
        data="echo 1 > given",
        command="echo $(($(cat given) + 1)) > made",
        check="test $(cat made) = 2; echo nothing; echo 'it is 2 | two'",
        cwl="echo 2 > made",
    )


def test_a_run_is_checked_each_way(
    gallery: Any, example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "draw", lambda *_: None)
    outcomes = gallery.run_example(example, tmp_path)
    assert [(one.by, one.checked) for one in outcomes] == [
        ("simple", r"it is 2 \| two"),
        ("d4pcwl-runner", r"it is 2 \| two"),
    ]
    section = gallery.section(example, outcomes)
    assert gallery.outcomes_of(f"# Gallery\n\n{section}")[0] == {"Two": outcomes}
    assert list((tmp_path / "examples" / "two").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": "echo 3 > made"}, "exit code 1: test"),
        ({"cwl": "echo 3 > made"}, "exit code 1: test"),
        ({"data": "echo no room >&2; exit 4"}, "exit code 4: .*\nno room"),
        ({"check": "true"}, "true: it does not say what it has checked"),
        ({"picture": "two.png"}, "two.png: no command has left this picture"),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_what_goes_wrong_is_told(
    gallery: Any,
    example: Any,
    change: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = gallery.run_command
    monkeypatch.setattr(
        gallery,
        "run_command",
        lambda command, folder: run(command.replace("d4pcwl graph two.py -o", "touch"), folder),
    )
    with pytest.raises(gallery.Failure, match=message):
        gallery.run_example(dataclasses.replace(example, **change), tmp_path)


def test_all_faults_of_declarations_are_told(gallery: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("| [`one/`](one/README.md) |\n")
    for name, text in {"one": 'title = "1"\ncaption = "?"', "two": 'maping = "simple"'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "example.toml").write_text(text)
    with pytest.raises(ValueError, match="unknown") as error:
        gallery.examples(tmp_path)
    said = str(error.value)
    assert f"{tmp_path}/two/example.toml: 'maping' is unknown" in said
    assert f"{tmp_path}/one/example.toml: 'about' is missing" in said
    assert f"{tmp_path}/one/example.toml: 'picture' and 'caption' belong together" in said
    assert f"{tmp_path}/README.md: its table lacks two" in said
