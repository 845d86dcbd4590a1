"""``ro-crate-preview.html``: a crate for people. It needs no network, and no other file but those
of the crate that it links to."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any
from urllib.parse import quote

from d4pcwl.crate.credits import Credits
from d4pcwl.crate.entities import media_type
from d4pcwl.crate.places import Places, is_record
from d4pcwl.crate.runs import Activity, Folder, Person, Plan, Port, Run, Stored, Stream, files_in
from d4pcwl.pages.html import TABLE_END, document, drawing, escaped, table_begin, tiles
from d4pcwl.trace import units

METADATA = "ro-crate-metadata.json"
_LARGEST_IMAGE, _ALL_IMAGES = 2_000_000, 12_000_000
"""Bytes of images that are put into the page; others are shown from their files."""
_FOLDED = 12
"""If there are more things, only the first are shown at once."""
_LINES, _LETTERS = 12, 4000
"""The number of letters of a text that are shown."""
_SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
_TEXTS = ("text/", "application/json", "application/geo+json", "application/jsonl")


def page(runs: Sequence[Run], places: Places, credits_: Credits, images: Mapping[Plan, str]) -> str:
    """The page.

    :param images: the places of the pictures of workflows
    """
    main = runs[0].main
    writer = _Page(places, images)
    style = resources.files("d4pcwl.crate").joinpath("page.css").read_text(encoding="utf-8")
    body = [*writer.head(main, credits_)]
    for run in runs:
        body += writer.run(run, alone=len(runs) == 1)
    return document(main.plan.title, [*body, *writer.foot(runs)], style)


class _Page:
    def __init__(self, places: Places, images: Mapping[Plan, str]) -> None:
        self._places, self._images = places, images
        self._room = _ALL_IMAGES

    # --- what, who, when ------------------------------------------------------------------------

    def head(self, main: Activity, credits_: Credits) -> Iterator[str]:
        """The header."""
        plan = main.plan
        yield f"<header><h1>{escaped(plan.title)}</h1>"
        yield from _paragraphs(plan.doc)
        by = [f"by {', '.join(map(_person, credits_.authors))}"] if credits_.authors else []
        uri, name = credits_.license["id_"], escaped(credits_.license["name"])
        by.append(f"licence: {_link(uri, name)}" if credits_.declared else name)
        yield f'<p class="faint">{" · ".join(by)}</p>'
        ran = [_moment(main.began)] if main.began else []
        ran += [f"run by {_person(main.agent)}"] if main.agent else []
        if main.engine:
            text = escaped(f"{main.engine.name} {main.engine.version}".strip())
            ran.append(f"with {_link(main.engine.url, text) if main.engine.url else text}")
        ran += [f"{escaped(name)} {escaped(value)}" for name, value in main.told.items()]
        yield f'<p class="faint">{" · ".join(ran)}</p>'
        if main.command:
            yield f"<p><code>{escaped(shlex.join(main.command))}</code></p>"
        yield from tiles(self._tiles(main))
        yield "</header>"
        if main.failed:
            yield f'<p class="failed"><b>The run failed.</b> {escaped(main.failed)}</p>'

    def _tiles(self, main: Activity) -> Iterator[tuple[str, str]]:
        if main.began and main.ended:
            yield units.seconds(main.ended - main.began), "from start to end"
        streams = [activity for activity in main.all() if activity.record is not None]
        if main.record is None:
            yield str(len(main.plan.steps)), "steps"
        if streams:
            plans = dict.fromkeys(each.plan for each in streams)
            yield str(sum(len(plan.steps) for plan in plans)), "PEs at work"
            items = sum(_items_out(part) for each in streams for _, part in each.parts)
            yield units.count(items), "items recorded"
        size = sum(file.size for file in self._places.stored.values())
        yield units.number(len(self._places.stored), "file"), units.size(size)

    # --- a run ----------------------------------------------------------------------------------

    def run(self, run: Run, *, alone: bool) -> Iterator[str]:
        """The sections of one run."""
        main = run.main
        if not alone:
            yield f"<h1>{escaped(main.plan.title)}</h1>"
        yield from self._results(main)
        drawn = self._drawn(main.plan)
        if drawn:
            place = self._places.documents[id(run)]
            yield f"<section><h2>Workflow</h2>{drawn}"
            yield f'<p class="faint">{_link(quote(place), escaped(place))}</p></section>'
        yield from self._values("Inputs and parameters", main.inputs, main.plan.inputs)
        if main.record is not None:
            yield "<section><h2>What each PE did</h2>"
            yield from self._pes([main])
            yield "</section>"
        else:
            yield from self._when(main)
            yield "<section><h2>Steps</h2>"
            yield from self._steps(main)
            yield "</section>"

    def _drawn(self, plan: Plan) -> str:
        """The picture of a workflow, if Graphviz has drawn it."""
        content = self._places.files.get(self._images.get(plan, ""))
        if not isinstance(content, bytes) or not self._images[plan].endswith(".svg"):
            return ""
        return f'<div class="graph">{drawing(content.decode())}</div>'

    def _results(self, main: Activity) -> Iterator[str]:
        files = [
            file
            for value in main.outputs.values()
            if not _is_only_record(value)
            for file in files_in(value)
            if self._places.of(file) is not None
        ]
        files = list({file.key: file for file in files}.values())
        if not files:
            return
        taken = {
            file.key
            for _, part in main.parts
            for value in part.inputs.values()
            for file in files_in(value)
        }
        files.sort(key=lambda file: file.key in taken)  # what no step took is the end of it all
        yield "<section><h2>Results</h2>"
        pictures = [file for file in files if media_type(file.name, file.format) in _SHOWN]
        if pictures:
            yield '<div class="gallery">'
            for file in pictures:
                name = f"{self._file(file)} <small>{units.size(file.size)}</small>"
                yield f'<figure><img alt="{escaped(file.name)}" loading="lazy" '
                yield f'src="{self._source(file)}"><figcaption>{name}</figcaption></figure>'
            yield "</div>"
        others = [file for file in files if file.size and file not in pictures]
        texts = {file.key: text for file in others if (text := self._beginning(file))}
        others.sort(key=lambda file: (file.key in taken, file.key not in texts))
        lines = [f'<div class="result">{self._result(f, texts.get(f.key))}</div>' for f in others]
        if texts and not pictures:
            lines[0] = lines[0].replace("<details>", "<details open>", 1)
        yield from _folded(lines)
        empty = [f"<li>{self._file(file)}</li>" for file in files if not file.size]
        if empty:
            yield f"<details><summary>{units.number(len(empty), 'empty file')}</summary>"
            yield f'<ul class="files">{"".join(empty)}</ul></details>'
        yield "</section>"

    def _result(self, file: Stored, text: str | None) -> str:
        told = f"{self._file(file)} <small>{units.size(file.size)}</small>"
        if text is None:
            return told
        return f"<details><summary>{told}</summary><pre>{escaped(text)}</pre></details>"

    def _beginning(self, file: Stored) -> str:
        kind = media_type(file.name, file.format)
        if not file.size or file.path is None or not kind.startswith(_TEXTS) or kind == "text/html":
            return ""
        with file.path.open("rb") as stream:
            text = stream.read(_LETTERS).decode("utf-8", "replace")
        lines = text.splitlines()
        return "\n".join(
            [*lines[:_LINES], *(["…"] if len(lines) > _LINES or file.size > _LETTERS else [])]
        )

    def _source(self, file: Stored) -> str:
        """Where the page takes an image from: itself, if there is room."""
        assert file.path is not None
        if file.size > min(_LARGEST_IMAGE, self._room):
            return quote(self._places.of(file) or "")
        self._room -= file.size
        data = base64.b64encode(file.path.read_bytes()).decode()
        return f"data:{media_type(file.name, file.format)};base64,{data}"

    def _values(
        self, title: str, values: Mapping[str, Any], ports: Mapping[str, Port]
    ) -> Iterator[str]:
        if not values:
            return
        yield f"<section><h2>{title}</h2>"
        yield from table_begin(["name", "value", "what"], text=3)
        for name, value in values.items():
            yield f'<tr><td class="text">{escaped(name)}</td>'
            yield f'<td class="text">{self._value(value)}</td>'
            yield f'<td class="text">{escaped(ports[name].title)}</td></tr>'
        yield f"{TABLE_END}</section>"

    # --- steps and PEs --------------------------------------------------------------------------

    def _when(self, main: Activity) -> Iterator[str]:
        parts = [(step, part) for step, part in main.parts if part.began and part.ended]
        if not parts:
            return
        began = min(part.began or 0 for _, part in parts)
        whole = max(part.ended or 0 for _, part in parts) - began or 1
        yield '<section><h2>When</h2><div class="when">'
        for step in dict.fromkeys(step for step, _ in parts):
            runs = [part for name, part in parts if name == step]
            yield f'<div><span>{escaped(step)}</span><span class="lane">'
            for run in runs:
                start, end = run.began or 0, run.ended or 0
                left, width = 100 * (start - began) / whole, 100 * (end - start) / whole
                yield f'<i title="{escaped(units.seconds(end - start))}" '
                yield f'style="left:{left:.2f}%;width:{width:.2f}%"></i>'
            spent = sum((run.ended or 0) - (run.began or 0) for run in runs)
            times = f", {len(runs)} runs" if len(runs) > 1 else ""
            yield f"</span><span>{escaped(units.seconds(spent))}{times}</span></div>"
        yield "</div></section>"

    def _steps(self, main: Activity) -> Iterator[str]:
        for name, plan in main.plan.steps.items():
            runs = [part for step, part in main.parts if step == name]
            kind = f"<small>{escaped(plan.kind)}</small>"
            yield f'<article class="step"><h3>{escaped(name)}{kind}</h3>'
            told = plan.title if plan.title != name else ""
            yield from _paragraphs(f"{told}\n\n{plan.doc}")
            if not runs:
                yield '<p class="faint">It was not run.</p></article>'
                continue
            for run in runs:
                if run.failed:
                    yield f'<p class="failed">{escaped(run.failed)}</p>'
            if any(run.record is not None for run in runs):
                yield self._drawn(plan)
                yield from self._pes(runs)
            elif plan.steps:
                yield from self._steps(
                    Activity("", plan, "", parts=[part for run in runs for part in run.parts])
                )
            yield from _folded([self._went(run, several=len(runs) > 1) for run in runs], 0)
            yield "</article>"

    def _went(self, run: Activity, *, several: bool) -> str:
        """What went into a run, and came out."""
        rows = []
        for way, values in (("in", run.inputs), ("out", run.outputs)):
            for name, value in values.items():
                told = f'<td class="text">{way}</td><td class="text">{escaped(name)}</td>'
                rows.append(f'<tr>{told}<td class="text">{self._value(value)}</td></tr>')
        title = f"<h3>{escaped(run.title)}</h3>" if several else ""
        if run.command:
            title += f"<p><code>{escaped(shlex.join(run.command))}</code></p>"
        return f'{title}<div class="wide"><table><tbody>{"".join(rows)}</tbody></table></div>'

    def _pes(self, runs: Sequence[Activity]) -> Iterator[str]:
        """The table of the PEs of a stream, whose runs are added up."""
        yield from table_begin(
            ["PE", "what", "invocations", "instances", "items out", "until done"], text=2
        )
        for name, plan in runs[0].plan.steps.items():
            parts = [part for run in runs for step, part in run.parts if step == name]
            kind = plan.kind.removeprefix("PE (").removesuffix(")")
            kind += ", keeps state" if plan.state else ""
            files = {
                file.key: file
                for part in parts
                for values in (part.inputs, part.outputs)
                for value in values.values()
                for file in files_in(value)
            }
            title = f"{escaped(plan.title)}<br><small>{escaped(kind)}</small>"
            yield f'<tr><td class="text">{title}</td>'
            links = ", ".join(self._file(file) for file in list(files.values())[:_FOLDED])
            more = f", … {len(files)} in all" if len(files) > _FOLDED else ""
            doc = "".join(_paragraphs(plan.doc))
            yield f'<td class="text">{doc}'
            yield f"<small>{links}{more}</small></td>"
            for key in ("invocations", "instances"):
                yield f"<td>{units.count(sum(part.usage.get(key, 0) for part in parts))}</td>"
            yield f"<td>{units.count(sum(map(_items_out, parts)))}</td>"
            spent = sum(part.usage.get("seconds", 0) for part in parts)
            yield f"<td>{escaped(units.seconds(spent))}</td></tr>"
        yield TABLE_END

    # --- values ---------------------------------------------------------------------------------

    def _value(self, value: Any) -> str:
        if isinstance(value, Stored):
            return self._file(value)
        if isinstance(value, Folder):
            place = self._places.folders.get(value, "")
            return _link(quote(place), escaped(place))
        if isinstance(value, Stream):
            return f"{escaped(value.name)} ({units.count(value.items)} items)"
        if (
            isinstance(value, list)
            and value
            and not any(isinstance(v, (int, float)) for v in value)
        ):
            entries = [f"<li>{self._value(entry)}</li>" for entry in value]
            return f'<ul class="files">{"".join(_folded(entries, tag="ul"))}</ul>'
        if isinstance(value, str):
            return escaped(value)
        return escaped(json.dumps(value, ensure_ascii=False, default=lambda part: part.name))

    def _file(self, file: Stored) -> str:
        place = self._places.of(file)
        if place is None:
            return f"{escaped(file.name)} <small>(not in the crate)</small>"
        return _link(quote(place), escaped(file.name))

    # --- the end --------------------------------------------------------------------------------

    def foot(self, runs: Sequence[Run]) -> Iterator[str]:
        """How to ask where results come from, and the footer."""
        if self._places.records:
            asked = [
                self._places.of(file)
                for value in runs[0].main.outputs.values()
                if not _is_only_record(value)
                for file in files_in(value)
                if file.size
            ]
            results = [place for place in asked if place is not None][:1]
            commands = [f"d4pcwl lineage . {shlex.quote(place)}" for place in results]
            yield "<section><h2>Where a result comes from</h2>"
            yield "<p>The crate has the whole record of what each item comes from. In its folder, "
            yield "the command d4pcwl answers:</p>"
            yield f"<pre>{escaped(chr(10).join([*commands, 'd4pcwl lineage .']))}</pre></section>"
        yield "<footer>This is an RO-Crate, of the profile "
        yield _link("https://w3id.org/ro/wfrun/provenance/0.5", "Provenance Run Crate 0.5")
        yield f"; for programs it is described in {_link(METADATA, METADATA)}. "
        yield "Made by d4pcwl crate.</footer>"


def _items_out(part: Activity) -> int:
    return sum(value.items for value in part.outputs.values() if isinstance(value, Stream))


def _is_only_record(value: Any) -> bool:
    return all(map(is_record, value)) if isinstance(value, list) else is_record(value)


def _paragraphs(text: str) -> Iterator[str]:
    """A text whose paragraphs have blank lines between them."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph:
            yield f'<p class="says">{escaped(paragraph)}</p>'


def _folded(lines: Sequence[str], first: int = _FOLDED, tag: str = "div") -> Iterator[str]:
    """Lines of which those after the first are folded away."""
    yield from lines[:first]
    if len(lines) > first:
        what = f"{len(lines) - first} more" if first else "What went in and out"
        yield f"<details><summary>{what}</summary><{tag}>"
        yield from lines[first:]
        yield f"</{tag}></details>"


def _link(target: str, text: str) -> str:
    return f'<a href="{escaped(target)}">{text}</a>'


def _person(person: Person) -> str:
    return _link(person.id, escaped(person.name)) if person.id else escaped(person.name)


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%d %B %Y, %H:%M:%S %Z}"
