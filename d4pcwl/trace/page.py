"""The report of a run, or of two beside each other: an HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import resources

from d4pcwl.pages.html import TABLE_END, document, escaped, legend, table_begin, tiles
from d4pcwl.trace import picture, units
from d4pcwl.trace.bottleneck import findings
from d4pcwl.trace.changes import Change, changes, verdict
from d4pcwl.trace.charts import PARTS, Row, axis, drawn
from d4pcwl.trace.suggestion import Suggestion
from d4pcwl.trace.summary import STATES, OfInstance, OfPE, Summary, levels, spread

_FOLDED = 8
"""With more instances or processes than this, only the first are shown at once."""

_COLOURS = 8
_MOST_EVENTS = 200

_FOOTER = """Seconds are estimates: each process is sampled many times a second. Busy is the time in
the code of the PE; encoding, the time to encode its output; blocked, the time until the output is
sent; waiting, the time without work. The rest of a line is time for other PEs of the process. Mean
is the busy time divided by the items. Median, 90 % and 99 % are given only if they are known: calls
shorter than some hundredths of a second are not recorded singly. Made by d4pcwl trace report."""

Interval = tuple[float, float, float]


def page(runs: Sequence[tuple[str, Summary]], suggestions: Sequence[Suggestion] = ()) -> str:
    """The page.

    :param runs: one or two, with what they are called
    :param suggestions: plans for the next run, the one that it would have by default first
    """
    until = max(summary.seconds for _, summary in runs) or 1.0
    parts = [_Run(name, summary, until, suggestions) for name, summary in runs]
    title = " and ".join(part.title for part in parts)
    return document(title, _body(parts), _beside("page.css"), _beside("page.js"))


def _body(parts: Sequence[_Run]) -> Iterator[str]:
    if len(parts) == 2:
        before, after = parts
        yield f"<h1>{escaped(before.name)} and {escaped(after.name)}</h1>"
        yield from _changes(before, after)
        yield '<div class="runs">'
    for part in parts:
        yield from part.html()
    if len(parts) == 2:
        yield "</div>"
    yield from _footer()


def _beside(name: str) -> str:
    """The text of a file beside this module."""
    return resources.files("d4pcwl.trace").joinpath(name).read_text(encoding="utf-8")


class _Run:
    """The sections of one run.

    :param until: the end of the axis of time, in seconds
    """

    def __init__(
        self, name: str, summary: Summary, until: float, suggestions: Sequence[Suggestion]
    ) -> None:
        self.name, self.summary, self.until = name, summary, until
        self.suggestions = suggestions
        self.findings = findings(summary)
        self.title = f"{summary.run.script or summary.run.id} ({summary.run.mapping})"

    @property
    def hot(self) -> str | None:
        """The id of the PE that is the bottleneck."""
        return self.findings[0].pe if self.findings else None

    def html(self) -> Iterator[str]:
        yield "<article>"
        sections = (
            self._header,
            self._found,
            self._plans,
            self._timeline,
            self._over_time,
            self._pes,
            self._graph,
            self._edges,
            self._events,
        )
        for section in sections:
            yield from section()
        yield "</article>"

    # --- what ran --------------------------------------------------------------------------------

    def _header(self) -> Iterator[str]:
        run, summary = self.summary.run, self.summary
        yield f"<header><h1>{escaped(run.script or 'A run')}</h1>"
        versions = [f"{name} {version}" for name, version in run.versions.items()]
        facts = [
            f"{run.mapping}, {units.number(len(summary.processes) or run.processes, 'process')}",
            _moment(run.began),
            f"on {run.host}" if run.host else "",
            f"Python {run.python}" if run.python else "",
            *versions,
        ]
        yield f'<p class="faint">{escaped(" · ".join(filter(None, facts)))}</p>'
        if run.arguments:
            yield f'<p class="faint"><code>{escaped(" ".join(run.arguments))}</code></p>'
        yield from tiles(self._tiles())
        yield "</header>"

    def _tiles(self) -> Iterator[tuple[str, str]]:
        summary = self.summary
        yield units.seconds(summary.seconds), "from start to end"
        if summary.from_sources:
            yield units.count(summary.from_sources), "items from sources"
            yield f"{units.count(summary.from_sources / summary.seconds)}/s", "items a second"
        count = len(summary.processes)
        yield units.percent(summary.at_work), f"of {units.number(count, 'process')}, at work"
        cpu = sum(place.cpu for place in summary.processes.values())
        if cpu:
            yield units.seconds(cpu), "of processor time"
        if summary.memory:
            yield units.size(summary.memory), "of memory, at most"

    def _found(self) -> Iterator[str]:
        if not self.findings:
            return
        first, *others = self.findings
        yield '<section class="finding">'
        yield f'<p class="says">{escaped(first.says)}</p>'
        if first.advice:
            yield f"<p>{escaped(first.advice)}</p>"
        if others:
            yield '<ul class="also">'
            yield from (f"<li>{escaped(other)}</li>" for other in others)
            yield "</ul>"
        yield "</section>"

    def _plans(self) -> Iterator[str]:
        if not self.suggestions:
            return
        first, quickest = self.suggestions[0], min(self.suggestions, key=lambda s: s.seconds)
        yield "<section><h2>Plans for the next run</h2>"
        if quickest is not first:
            gain = units.times(first.seconds / quickest.seconds)
            options = f"--optimise {quickest.how} --from {self.name}"
            yield f"<p>The plan {quickest.how} is predicted to be {gain} as fast as the default: "
            yield f"<code>multi -n {len(quickest.processes)} {escaped(options)}</code></p>"
        yield from table_begin(["plan", "processes", "predicted"], text=2)
        for plan in self.suggestions:
            yield '<tr class="hot">' if plan is quickest is not first else "<tr>"
            yield f'<td class="text">{escaped(plan.how)}</td><td class="text">{escaped(plan)}</td>'
            yield f"<td>{escaped(units.seconds(plan.seconds))}</td></tr>"
        yield f"{TABLE_END}</section>"

    # --- over time -------------------------------------------------------------------------------

    def _timeline(self) -> Iterator[str]:
        if not self.summary.instances:
            return
        yield "<section><h2>Timeline</h2>"
        yield from legend({state: state for state in STATES})
        yield from self._charts(self._instances())
        colours = self._colours()
        if any(len(self.summary.in_process(place)) > 1 for place in self.summary.processes):
            yield "<h3>What each process works for</h3>"
            names: dict[str, list[str]] = {}
            for pe in self.summary.shown:
                names.setdefault(colours[pe.record.pe], []).append(pe.name)
            yield from legend(
                {c: found[0] if len(found) == 1 else "others" for c, found in names.items()}
            )
            rows = [self._process(place, colours) for place in self.summary.processes]
            yield from self._charts(_folded(rows))
        yield "</section>"

    def _charts(self, lines: Iterable[str]) -> Iterator[str]:
        lines = list(lines)
        if lines:
            yield f'<div class="charts" data-until="{self.until}">'
            yield from lines
            yield axis(self.until)
            yield "</div>"

    def _instances(self) -> Iterator[str]:
        for pe in self.summary.shown:
            ordered = sorted(pe.instances, key=lambda instance: instance.record.copy)
            rows = [self._lane(instance) for instance in ordered]
            if len(rows) > _FOLDED:
                yield from drawn(self._mean_lane(pe))
            yield from _folded(rows, 0 if len(rows) > _FOLDED else _FOLDED)

    def _lane(self, instance: OfInstance) -> Row:
        title = self.summary.title(instance)
        place = f"process {instance.record.process}"
        return self._states(title, place, [instance])

    def _mean_lane(self, pe: OfPE) -> Row:
        note = f"mean of {len(pe.instances)} instances"
        return self._states(pe.name, note, pe.instances)

    def _states(self, label: str, note: str, instances: list[OfInstance]) -> Row:
        """A chart of what instances do: the parts of the time of each."""
        width = len(instances) * self.until / PARTS
        layers = {
            state: [
                amount / width
                for amount in self._spread(
                    (sample.start, sample.end, getattr(sample, state))
                    for instance in instances
                    for sample in instance.samples
                )
            ]
            for state in STATES
        }
        told = {state: _texts(values, units.percent) for state, values in layers.items()}
        hot = any(instance.record.pe == self.hot for instance in instances)
        busy = units.percent(self.summary.share(instances, "busy"))
        return Row(label, layers, note, told, f"{busy} busy", hot)

    def _process(self, place: int, colours: Mapping[str, str]) -> Row:
        """A chart of the PEs that a process works for."""
        summary, width = self.summary, self.until / PARTS
        layers = {colour: [0.0] * PARTS for colour in dict.fromkeys(colours.values())}
        told = {}
        work = 0.0
        for instance in summary.in_process(place):
            amounts = [(s.start, s.end, s.busy + s.encoding) for s in instance.samples]
            values = [amount / width for amount in self._spread(amounts)]
            colour = colours[instance.record.pe]
            layers[colour] = [a + b for a, b in zip(layers[colour], values, strict=True)]
            told[summary.title(instance)] = _texts(values, units.percent)
            work += instance.seconds.work
        record = summary.processes[place].record
        figure = f"{units.percent(_share(work, summary.seconds - record.at))} at work"
        hosts = {other.record.host for other in summary.processes.values()}
        note = f"on {record.host}" if len(hosts) > 1 else f"pid {record.pid}"
        return Row(f"process {place}", layers, note, told, figure)

    def _colours(self) -> dict[str, str]:
        """A colour for each PE: those that work most have one of their own."""
        pes = self.summary.pes
        ordered = sorted(pes, key=lambda pe: -pes[pe].seconds.work)
        chosen = set(ordered[: _COLOURS - 1] if len(pes) > _COLOURS else ordered)
        own = (f"c{number}" for number in range(_COLOURS))
        return {pe: next(own) if pe in chosen else f"c{_COLOURS - 1}" for pe in pes}

    def _over_time(self) -> Iterator[str]:
        rows = {
            "Items a second": self._rates(),
            "Items that wait": self._queues(),
            "Workers": self._workers(),
            "Memory": self._memory(),
        }
        if not any(rows.values()):
            return
        yield "<section><h2>Over time</h2>"
        for title, found in rows.items():
            if found:
                yield f"<h3>{title}</h3>"
                shown = 1 if title == "Memory" else _FOLDED
                yield from self._charts(_folded(found, shown))
        yield "</section>"

    def _rates(self) -> list[Row]:
        width = self.until / PARTS
        rows = []
        for pe in self.summary.shown:
            what = "written" if pe.writes else "taken"
            items = self._spread(
                (sample.start, sample.end, getattr(sample, what) or 0)
                for instance in pe.instances
                for sample in instance.samples
            )
            rates = [amount / width for amount in items]
            rows.append(_curve(pe.name, rates, lambda rate: f"{units.count(rate)}/s"))
        return rows

    def _queues(self) -> list[Row]:
        """What waits for each PE, where the trace says it."""
        rows = []
        for pe in self.summary.shown:
            samples = sorted((s for i in pe.instances for s in i.samples), key=lambda s: s.end)
            waiting = levels(
                [(s.end, s.queue) for s in samples if s.queue is not None], self.until, PARTS
            )
            if any(waiting):
                total = [number or 0 for number in waiting]
                rows.append(_curve(pe.name, self._until_end(total), units.count))
        return rows

    def _workers(self) -> list[Row]:
        scaled = [(e.at, e.number) for e in self.summary.events if e.what == "scale" and e.number]
        if not scaled:
            return []
        numbers = [value or 0 for value in levels(scaled, self.until, PARTS)]
        return [_curve("workers", self._until_end(numbers), units.count)]

    def _memory(self) -> list[Row]:
        """All processes together, and each of them on the same scale."""
        found = []
        for place in self.summary.processes.values():
            sizes = [(u.end, u.memory) for u in place.usages if u.memory]
            values = [value or 0 for value in levels(sizes, self.until, PARTS)]
            found.append((f"process {place.record.process}", self._until_end(values)))
        if len(found) > 1:
            total = [sum(part) for part in zip(*(values for _, values in found), strict=True)]
            found = [("all processes", total), *found]
        top = max((max(values) for _, values in found), default=0.0)
        return [_curve(name, values, units.size, top) for name, values in found] if top else []

    def _spread(self, amounts: Iterable[Interval]) -> list[float]:
        return spread(amounts, self.until, PARTS)

    def _until_end(self, values: Sequence[float]) -> list[float]:
        """Nothing, after the run has ended."""
        end = self.summary.seconds * PARTS / self.until
        return [value if number < end else 0.0 for number, value in enumerate(values)]

    # --- tables ----------------------------------------------------------------------------------

    def _pes(self) -> Iterator[str]:
        if not self.summary.pes:
            return
        yield "<section><h2>PEs</h2>"
        heads = ["PE", "", "busy", "instances", "items in", "out", "mean", "median", "90 %", "99 %"]
        yield from table_begin(heads, text=1)
        for pe in self.summary.shown:
            yield '<tr class="hot">' if pe.record.pe == self.hot else "<tr>"
            yield f'<td class="text">{escaped(pe.name)} <small>{escaped(_kind(pe))}</small></td>'
            shares = {state: self.summary.share(pe.instances, state) for state in STATES}
            bar = "".join(
                f'<i class="{state}" style="width:{100 * share:.1f}%"></i>'
                for state, share in shares.items()
            )
            yield f'<td><div class="bar">{bar}</div></td>'
            times = [pe.mean, *map(pe.percentile, (0.5, 0.9, 0.99))]
            cells = [
                units.percent(shares["busy"]),
                str(len(pe.instances)),
                f"{pe.taken:,}",
                "" if pe.written is None else f"{pe.written:,}",
                *("" if time is None else units.seconds(time) for time in times),
            ]
            yield "".join(f"<td>{escaped(cell)}</td>" for cell in cells) + "</tr>"
        yield f"{TABLE_END}</section>"

    def _graph(self) -> Iterator[str]:
        drawing = picture.svg(self.summary, self.hot)
        if drawing is not None:
            yield f'<section><h2>Graph</h2><div class="graph">{drawing}</div></section>'

    def _edges(self) -> Iterator[str]:
        shown = {pe.record.pe for pe in self.summary.shown}
        every = self.summary.edges.values()
        edges = [edge for edge in every if edge.items and edge.record.source in shown]
        if not edges:
            return
        compressed = any(edge.sent is not None for edge in edges)
        yield "<section><h2>What went between processes</h2>"
        yield from table_begin(
            ["from", "to", "grouping", "items", "bytes", "bytes an item", "bytes a second"]
            + (["sent"] if compressed else []),
            text=3,
        )
        for edge in sorted(edges, key=lambda edge: (-(edge.bytes or 0), -edge.items)):
            record, sent = edge.record, edge.bytes
            texts = [
                f"{self.summary.name(record.source)}.{record.output}",
                f"{self.summary.name(record.dest)}.{record.input}",
                record.grouping or "",
            ]
            figures = [f"{edge.items:,}", "", "", ""]
            if sent is not None:
                each, rate = sent / edge.items, sent / self.summary.seconds
                figures[1:] = [units.size(sent), units.size(each), f"{units.size(rate)}/s"]
            if compressed:
                figures.append("" if edge.sent is None else units.size(edge.sent))
            yield "<tr>" + "".join(f'<td class="text">{escaped(text)}</td>' for text in texts)
            yield "".join(f"<td>{escaped(figure)}</td>" for figure in figures) + "</tr>"
        yield f"{TABLE_END}</section>"

    def _events(self) -> Iterator[str]:
        events = self.summary.events
        if not events:
            return
        yield '<section><h2>Events</h2><ul class="events">'
        for event in events[:_MOST_EVENTS]:
            repeated = event.what != "scale" and (event.number or 1) > 1
            times = f" ({event.number} times)" if repeated else ""
            yield (
                f"<li><time>{escaped(units.seconds(event.at))}</time><b>{escaped(event.what)}</b>"
                f"<span>{escaped(event.why + times)}</span></li>"
            )
        if len(events) > _MOST_EVENTS:
            more = len(events) - _MOST_EVENTS
            yield f"<li><time></time><b></b><span>and {more:,} more</span></li>"
        yield "</ul></section>"


# --- two runs ------------------------------------------------------------------------------------


def _changes(before: _Run, after: _Run) -> Iterator[str]:
    yield '<section class="finding">'
    for number, sentence in enumerate(verdict(before.summary, after.summary)):
        yield (
            f'<p class="says">{escaped(sentence)}</p>'
            if not number
            else f"<p>{escaped(sentence)}</p>"
        )
    yield "</section><section><h2>What changed</h2>"
    yield from table_begin(["", before.name, after.name, "change"], text=1)
    for change in changes(before.summary, after.summary):
        yield f'<tr><td class="text">{escaped(change.what)}</td>'
        yield f"<td>{escaped(change.before)}</td><td>{escaped(change.after)}</td>"
        yield f'<td class="{_judged(change)}">{escaped(change.told)}</td></tr>'
    yield f"{TABLE_END}</section>"


def _judged(change: Change) -> str:
    return {True: "better", False: "worse", None: ""}[change.better]


# --- parts ---------------------------------------------------------------------------------------


def _curve(
    label: str, values: Sequence[float], text: Callable[[float], str], scale: float | None = None
) -> Row:
    """A chart of any amounts, as high as the greatest of them, or on a scale up to ``scale``."""
    top = max(values, default=0.0)
    scale = scale or top or 1.0
    layer = [0.96 * value / scale for value in values]
    told = {"": _texts(values, text)}
    return Row(label, {"curve": layer}, "", told, f"up to {text(top)}", tall=True)


def _texts(values: Iterable[float], text: Callable[[float], str]) -> list[str]:
    return [text(value) if value > 0 else "" for value in values]


def _folded(rows: Sequence[Row], shown: int = _FOLDED) -> Iterator[str]:
    """Charts; what is more than ``shown`` is folded away."""
    for row in rows[:shown]:
        yield from drawn(row)
    if len(rows) > shown:
        what = f"{len(rows) - shown} more" if shown else units.number(len(rows), "instance")
        yield f"<details><summary>{what}</summary>"
        for row in rows[shown:]:
            yield from drawn(row)
        yield "</details>"


def _kind(pe: OfPE) -> str:
    record = pe.record
    said = {"source": record.source, "keeps state": record.state and not record.source}
    kinds = [kind for kind, so in said.items() if so]
    return ", ".join([record.class_] * (record.class_ != pe.name) + kinds)


def _share(amount: float, of: float) -> float:
    return min(1.0, amount / of) if of > 0 else 0.0


def _moment(iso: str) -> str:
    """A moment in ISO 8601, as people read it."""
    try:
        return f"{datetime.fromisoformat(iso):%-d %B %Y, %H:%M} UTC"
    except ValueError:
        return iso


def _footer() -> Iterator[str]:
    yield f"<footer><p>{_FOOTER}</p></footer>"
