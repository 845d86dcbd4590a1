"""`benchmarks/run`: ours, upstream and the machine's limits, in turn."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import table
from bench.cases import LIMITS, MAPPINGS, PROCESSES, REDIS, Case, selected
from bench.environments import Environment, make
from bench.pipelines import marks, text
from bench.processes import Outcome, Server, ended_by_signals, run, scratch

_HERE = Path(__file__).parent
_PIPELINES = _HERE / "pipelines"
_PEER_ITEMS = {"1": 200_000, "500": 2_000_000}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/run", description="Measure this package, upstream's, and the machine."
    )
    parser.add_argument("--quick", action="store_true", help="once, with a tenth of the items")
    parser.add_argument("--only", metavar="MAPPING,…", help=f"of {', '.join(MAPPINGS)}")
    parser.add_argument("--cases", metavar="WORD,…", help="cases with that in their names")
    parser.add_argument("--repetitions", type=int, metavar="N", help="how often (default: 3)")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="for a run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all samples go there")
    parser.add_argument("--no-limits", action="store_true", help="leave out limits and peers")
    options = parser.parse_args(argv)
    try:
        cases = selected(options.cases, options.only)
    except ValueError as error:
        parser.error(str(error))
    ended_by_signals()
    try:
        return _measure(options, cases)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def _measure(options: argparse.Namespace, cases: list[tuple[Case, list[str]]]) -> int:
    ours, upstream = make("ours"), make("upstream")
    if ours is None or upstream is None:
        return 1
    peer = None if options.no_limits else make("bytewax")
    with contextlib.closing(Server(upstream.redis_server())) as server:
        bench = Bench(ours, upstream, peer, server, options.quick, options.timeout)
        repetitions = options.repetitions or (1 if options.quick else 3)
        bench.all(cases, repetitions, limits=not options.no_limits)
    sys.stdout.write(bench.report() + "\n")
    if options.json:
        about = {
            "date": datetime.date.today().isoformat(),
            "machine": f"{os.cpu_count()} cores, {platform.platform()}",
            "python": platform.python_version(),
            "repetitions": repetitions,
            "quick": options.quick,
            "ours": ours.versions(),
            "upstream": upstream.versions(),
            "bytewax": peer.versions() if peer else None,
        }
        data = table.as_json(bench.rows, bench.limits | bench.peers, about)
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0


class Bench:
    """One go: the rows as they fill."""

    def __init__(
        self,
        ours: Environment,
        upstream: Environment,
        peer: Environment | None,
        server: Server,
        quick: bool,
        timeout: float,
    ) -> None:
        self.environments = {"ours": ours, "upstream": upstream}
        self.peer, self.server, self.quick, self.timeout = peer, server, quick, timeout
        self.rows: list[table.Row] = []
        self.limits: dict[str, table.Side] = {}
        self.peers: dict[str, table.Side] = {}
        self.present = _mappings_of(ours)

    def all(self, cases: list[tuple[Case, list[str]]], repetitions: int, *, limits: bool) -> None:
        """Measure everything so many times, in turn."""
        work = []
        for case, mappings in cases:
            for mapping in mappings:
                targets, limit = case.targets.get(mapping, ()), case.limits.get(mapping, "")
                row = table.Row(case.name, mapping, case.unit, targets=targets, limit=limit)
                self.rows.append(row)
                work.append((case, row))
        for repetition in range(repetitions):
            if limits:
                self.measure_limits()
            for case, row in work:
                if repetition and not case.repeated:
                    continue
                _say(f"{repetition + 1}/{repetitions} {case.name}: {row.mapping}")
                self.measure(case, row)

    # --- the packages ---------------------------------------------------------------------------

    def measure(self, case: Case, row: table.Row) -> None:
        """One run of each package."""
        if row.mapping not in self.present:
            row.ours.faults.append("absent")
        else:
            self._one(case, row, "ours", row.ours)
        # What once took too long is not waited for again.
        if not any("took longer" in fault for fault in row.upstream.faults):
            self._one(case, row, "upstream", row.upstream)

    def _one(self, case: Case, row: table.Row, package: str, side: table.Side) -> None:
        items = case.items[row.mapping][package == "upstream"]
        if self.quick and items > 1 and case.unit != "MB":
            items = max(10, items // 10)
        each = row.mapping not in ("simple", "multi", "mpi")
        environment = self.environments[package]
        command = [environment.command("dispel4py"), row.mapping]
        command.append(str(_PIPELINES / f"{case.script}.py"))
        env = {"BENCH_ITEMS": str(items), "BENCH_EACH": str(int(each))}
        if row.mapping == "mpi":
            ranks = 3 if case.script == "arrays" else PROCESSES
            command = [environment.command("mpiexec"), "-n", str(ranks), *command]
            if package == "upstream":  # it does nothing without
                command += ["-n", str(ranks)]
        elif row.mapping != "simple" or package == "ours":
            command += ["-n", str(PROCESSES)]
        if row.mapping in REDIS and (package == "upstream" or case.unit != "s"):
            env |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self.server.port)}
            if row.mapping in ("redis", "hybrid_redis"):
                command += ["-ri", "127.0.0.1", "-rp", str(self.server.port)]
        self.server.call("FLUSHALL")
        with scratch() as folder:
            outcome = self._run(command, env, folder)
            reached = marks.read(str(folder / "marks"))
        began, _, _, end = reached
        fault = _fault(case.script, items, outcome, reached, self.timeout)
        if fault:
            side.faults.append(fault)
            return
        assert began is not None
        if case.unit == "s":
            side.samples.append(outcome.seconds)
        elif case.unit == "MB":
            side.samples.append(outcome.peak_mb)
        else:
            side.samples.append(items * case.amount / (end - began))

    def _run(self, command: list[str], env: dict[str, str], folder: Path) -> Outcome:
        (folder / "marks").mkdir()
        env = {
            **env,
            "BENCH_MARKS": str(folder / "marks"),
            "BENCH_REDIS_PORT": str(self.server.port),
            "PYTHONPATH": str(_PIPELINES),
            "TMPDIR": str(folder),
        }
        return run(command, env=env, folder=folder, timeout=self.timeout)

    # --- the machine and the peers --------------------------------------------------------------

    def measure_limits(self) -> None:
        """One run of each limit and peer."""
        ours = self.environments["ours"]
        for name, (unit, _, ranks) in LIMITS.items():
            _say(f"limit: {name}")
            command = [ours.command("python"), str(_HERE / "limits.py")]
            command += ["mpi" if name == "mpi_pair" else name, "0.1" if self.quick else "1"]
            if ranks > 1:
                command = [ours.command("mpiexec"), "-n", str(ranks), *command]
            side = self.limits.setdefault(name, table.Side())
            with scratch() as folder:
                outcome = self._run(command, {}, folder)
            try:
                side.samples.append(float(outcome.said.split()[-1]))
            except (IndexError, ValueError):
                side.faults.append(f"no {unit}: {_last_line(outcome.said)}")
        for batch, items in _PEER_ITEMS.items():
            side = self.peers.setdefault(f"bytewax, batch {batch}", table.Side())
            if self.peer is None:
                side.faults.append("cannot be installed")
                continue
            _say(f"peer: bytewax, batch {batch}")
            items = items // 10 if self.quick else items
            command = [self.peer.command("python"), str(_PIPELINES / "peer_bytewax.py"), batch]
            with scratch() as folder:
                outcome = self._run(command, {"BENCH_ITEMS": str(items)}, folder)
                reached = marks.read(str(folder / "marks"))
            fault = _fault("ints", items, outcome, reached, self.timeout)
            if fault or reached[0] is None:
                side.faults.append(fault)
            else:
                side.samples.append(items / (reached[3] - reached[0]))

    def report(self) -> str:
        """The tables."""
        parts = [table.rendered(table.lines(self.rows, self.limits | self.peers))]
        others = [
            [name, *(_row_of(side, LIMITS[name][0], LIMITS[name][1]))]
            for name, side in self.limits.items()
        ]
        others += [
            [name, *_row_of(side, "items/s", "ints, 4 steps, one worker")]
            for name, side in self.peers.items()
        ]
        if others:
            parts.append(table.rendered(others, ["limit or peer", "unit", "median", "what it is"]))
        return "\n\n".join(parts)


def _row_of(side: table.Side, unit: str, what: str) -> list[str]:
    return [unit, table.figure(side.median) if side.samples else side.fault, what]


def expected(script: str, items: int) -> int:
    """The sum that the last PE is to reach."""
    if script == "words":
        counts: dict[str, int] = {}
        for line in text.lines(items):
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
        return text.weigh(counts)
    return items * (items - 1) // 2


def _fault(
    script: str,
    items: int,
    outcome: Outcome,
    reached: tuple[float | None, int, int, float],
    timeout: float,
) -> str:
    """What is wrong with a run; empty where nothing is."""
    began, count, total, _ = reached
    lost = f", {items - count:,} of {items:,} lost" if count < items else ""
    if outcome.code is None:
        return f"took longer than {timeout:g} s{lost or ', after all had arrived'}"
    if outcome.code:
        return f"exit code {outcome.code}{lost}: {_last_line(outcome.said)}"
    if lost or began is None:
        return f"exit code 0{lost}"
    if count > items:
        return f"{count - items:,} too many"
    if total != expected(script, items):
        return "wrong answer"
    return f"left {outcome.strays} processes" if outcome.strays else ""


def _last_line(text: str) -> str:
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return said[-1][:60].replace("|", "/") if said else "nothing said"


def _mappings_of(ours: Environment) -> list[str]:
    code = (
        "import json, importlib.util as u\n"
        "from d4pcwl.runtime.mappings.registry import built_in\n"
        "there = [m.name for m in built_in() if all(map(u.find_spec, m.modules))]\n"
        "print(json.dumps(there))"
    )
    command = [ours.command("python"), "-c", code]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    mappings: list[str] = json.loads(answer.stdout)
    return mappings


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
