"""Runs the examples, checks their results, and makes the page docs/gallery.md.

An example is a folder of examples/ with a file `example.toml`, which declares:

    title     of its section
    about     what is computed, of what; and why this mapping suits it
    graph     the file whose graph is drawn: a script, a notebook's script, or a CWL document
    mapping   that `command` runs it with
    data      (may be left out) the command that makes the data; its time does not count
    command   the one command that runs it
    check     the command that compares the results with what is known in another way; the last
              line that it prints says what agrees, and is shown
    cwl       (may be left out) the command that compiles the same workflow and runs it as CWL; the
              same check follows
    plot      (may be left out) the command that draws the results
    picture   (may be left out) the picture: a file that `command` or `plot` leaves
    caption   what the picture shows

All commands are for bash. They run in the folder of the example, in a copy of all examples, and
must end with 0. `cwl` has a copy of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "images" / "gallery"
DECLARATION = "example.toml"
LARGEST = 250_000
"""Bytes of a picture: the page is to load quickly."""

_BEGIN = """# Gallery

All examples. `scripts/gallery` has run them, checked their results, and made this page.
The times are from the start of a command to its end, on {cores} cores.
A [notebook](../examples/notebook/first_workflow.ipynb) goes from a first PE to a picture, a run and
a CWL document.
"""
_CORES = re.compile(r"on (\d+) cores")
_ROW = re.compile(r"^\| `(\S+)` \| (.+?) \| (.+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """What the declaration of an example says."""

    name: str
    title: str
    about: str
    graph: str
    mapping: str
    command: str
    check: str
    data: str = ""
    cwl: str = ""
    plot: str = ""
    picture: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a run of an example went."""

    by: str
    time: str
    checked: str


class Failure(Exception):
    """A command of an example failed."""


def examples(folder: Path = EXAMPLES) -> list[Example]:
    """The examples, in the order of the table in their README.

    :raises ValueError: with all that is wrong in declarations
    """
    order = re.findall(r"\]\(([\w-]+)/", (folder / "README.md").read_text(encoding="utf-8"))
    known = {field.name: field for field in fields(Example) if field.name != "name"}
    needed = ("title", "about", "graph", "mapping", "command", "check")
    found, faults = [], []
    for path in sorted(folder.glob(f"*/{DECLARATION}")):
        name, said = path.parent.name, tomllib.loads(path.read_text(encoding="utf-8"))
        faults += [f"{path}: {key!r} is unknown" for key in said.keys() - known.keys()]
        faults += [f"{path}: {key!r} is missing" for key in needed if key not in said]
        if ("picture" in said) != ("caption" in said):
            faults.append(f"{path}: 'picture' and 'caption' belong together")
        if name not in order:
            faults.append(f"{folder / 'README.md'}: its table lacks {name}")
        if not faults:
            found.append(Example(name, **{key: text.strip() for key, text in said.items()}))
    if faults:
        raise ValueError("\n".join(faults))
    return sorted(found, key=lambda example: order.index(example.name))


def shown(example: Example) -> list[str]:
    """The files of the example's pictures: the graph, and what it has made."""
    graph = [f"{example.name}-graph.svg"]
    return [example.name + Path(example.picture).suffix, *graph] if example.picture else graph


def page(all_of_them: Sequence[Example], outcomes: Mapping[str, list[Outcome]], cores: str) -> str:
    """The page.

    :param outcomes: by the titles of examples
    """
    return "\n".join(
        [
            _BEGIN.format(cores=cores),
            *(section(example, outcomes[example.title]) for example in all_of_them),
        ]
    )


def section(example: Example, outcomes: Sequence[Outcome]) -> str:
    """The part of the page about an example."""
    *picture, graph = (f"images/gallery/{name}" for name in shown(example))
    commands = [f"cd examples/{example.name}"]
    commands += filter(None, [example.data, example.command])
    if example.cwl:
        commands += ["", "# the same as CWL", example.cwl]
    rows = [f"| `{one.by}` | {one.time} | {one.checked} |" for one in outcomes]
    parts = [
        f"## {example.title}",
        example.about,
        *(f'<img src="{path}" width="600" alt="{escape(example.caption)}">' for path in picture),
        *([f"*{example.caption}*"] if picture else []),
        f'<img src="{graph}" alt="The graph of {example.graph}">',
        "```sh\n" + "\n".join(commands) + "\n```",
        "\n".join(["| by | time | checked |", "|---|---|---|", *rows]),
        f"[All of it](../examples/{example.name}/{first_page(example)})",
    ]
    return "\n\n".join(parts) + "\n"


def first_page(example: Example) -> str:
    """The file of an example that a reader begins with."""
    return "README.md" if (EXAMPLES / example.name / "README.md").exists() else example.graph


def outcomes_of(text: str) -> tuple[dict[str, list[Outcome]], str]:
    """The outcomes that a page tells, by title; and the number of cores."""
    cores = _CORES.search(text)
    found = {}
    for part in text.split("\n## ")[1:]:
        rows = [Outcome(*found.groups()) for found in _ROW.finditer(part)]
        found[part.partition("\n")[0]] = rows
    return found, cores[1] if cores else "?"


def ways(example: Example) -> dict[str, str]:
    """The commands that run an example, by what runs it."""
    ways = {example.mapping: example.command}
    return {**ways, "d4pcwl-runner": example.cwl} if example.cwl else ways


def run_example(example: Example, pictures: Path) -> list[Outcome]:
    """Run an example in each of its ways, and leave its pictures in a folder.

    :raises Failure: a command failed, or left no picture
    """
    outcomes = []
    for by, command in ways(example).items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "examples", example.name)
            shutil.copytree(EXAMPLES, folder.parent, ignore=shutil.ignore_patterns("__pycache__"))
            if example.data:
                run_command(example.data, folder)
            begin = time.perf_counter()
            run_command(command, folder)
            seconds = time.perf_counter() - begin
            checked = run_command(example.check, folder).strip().splitlines()
            if not checked:
                raise Failure(f"{example.check}: it does not say what it has checked")
            outcomes.append(Outcome(by, told(seconds), checked[-1].replace("|", "\\|")))
            if command == example.command:
                draw(example, folder, pictures)
    return outcomes


def draw(example: Example, folder: Path, pictures: Path) -> None:
    """Leave the pictures of an example that has been run."""
    *picture, graph = shown(example)
    run_command(f"d4pcwl graph {example.graph} -o graph.svg", folder)
    shutil.copy(folder / "graph.svg", pictures / graph)
    if example.plot:
        run_command(example.plot, folder)
    for name in picture:
        made = folder / example.picture
        if not made.is_file():
            raise Failure(f"{example.picture}: no command has left this picture")
        if made.stat().st_size > LARGEST:
            raise Failure(f"{example.picture}: {made.stat().st_size} bytes, {LARGEST} are allowed")
        shutil.copy(made, pictures / name)


def run_command(command: str, folder: Path) -> str:
    """What a command prints.

    :raises Failure: it did not end with 0
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise Failure(f"exit code {done.returncode}: {command}\n{said}")
    return done.stdout


def told(seconds: float) -> str:
    """A time in the page."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def main(names: Sequence[str]) -> int:
    """Run the examples of these names, or all, and write the page if all goes well."""
    all_of_them = examples()
    if unknown := set(names) - {example.name for example in all_of_them}:
        sys.stderr.write(f"gallery: error: there is no example {', '.join(sorted(unknown))}\n")
        return 2
    outcomes: dict[str, list[Outcome]] = {}
    PICTURES.mkdir(parents=True, exist_ok=True)
    failures = []
    for example in all_of_them:
        if names and example.name not in names:
            continue
        sys.stderr.write(f"{example.name} ...\n")
        try:
            outcomes[example.title] = run_example(example, PICTURES)
        except Failure as failure:
            failures.append(f"{example.name}: {failure}")
    before = outcomes_of(PAGE.read_text(encoding="utf-8"))[0] if PAGE.exists() else {}
    outcomes = {**before, **outcomes}
    missing = [one.name for one in all_of_them if not outcomes.get(one.title)]
    if failures or missing:
        failures += [f"{name}: it has not been run yet" for name in missing if not failures]
        sys.stderr.write("".join(f"gallery: error: {one}\n" for one in failures))
        return 1
    PAGE.write_text(page(all_of_them, outcomes, str(len(os.sched_getaffinity(0)))), "utf-8")
    kept = {name for example in all_of_them for name in shown(example)}
    for path in PICTURES.iterdir():
        if path.name not in kept:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
