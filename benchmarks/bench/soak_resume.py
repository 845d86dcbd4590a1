"""`benchmarks/soak --resume`: kill whole runs at random moments, resume them, and compare."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import marked, scratch, sweep
from bench.table import rendered

_SCRIPT = Path(__file__).parent / "pipelines" / "resumed.py"
_EVERY_SECONDS = 0.3
_AT_ANY_TIME_SECONDS = 3.0
_AFTER_SNAPSHOTS = (0, 1, 2, 3)
_KILLS_OF_A_RUN = 8
_HANGS_AFTER_SECONDS = 120.0
_SETTLES_IN_SECONDS = 5.0
_FAULTS_ENOUGH = 10

Results = dict[str, list[str]]
"""From the output of a PE to its results, as texts."""


@dataclass
class Tally:
    """What came of the runs of one mapping.

    :param resumed: how often a run went on after a snapshot
    """

    runs: int = 0
    kills: int = 0
    resumed: int = 0
    items: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    left: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.disordered or self.left or self.faults)


def weigh(found: Results, expected: Results) -> tuple[int, int, int]:
    """How many results are lost, how many come twice or were never expected, and of how many
    outputs that have an order it is another one."""
    lost = doubled = disordered = 0
    for port in expected.keys() | found.keys():
        has, wants = Counter(found.get(port, [])), Counter(expected.get(port, []))
        lost += (wants - has).total()
        doubled += (has - wants).total()
        if has == wants and port.startswith("Steps") and found.get(port) != expected.get(port):
            disordered += 1
    return lost, doubled, disordered


def soak(
    mapping: str, kills: int, draw: random.Random, options: argparse.Namespace, tally: Tally
) -> None:
    """Kill runs of a mapping so often."""
    with scratch() as folder:
        expected = Run("simple", folder / "undisturbed", options).undisturbed()
        while tally.kills < kills and len(tally.faults) < _FAULTS_ENOUGH:
            most, place = min(_KILLS_OF_A_RUN, kills - tally.kills), folder / str(tally.runs)
            Run(mapping, place, options).soak(draw, most, expected, tally)
            shutil.rmtree(place)


class Run:
    """One run, in a folder of its own, with as many lives as it takes."""

    def __init__(self, mapping: str, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.items = folder, options.items
        self.snapshots, self.results = folder / "snapshots", folder / "results.jsonl"
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True)
        self.mark = secrets.token_hex(8)
        self.command = [sys.executable, "-m", "d4pcwl.cli.dispel4py", mapping, str(_SCRIPT)]
        self.command += ["-i", "2", "-n", str(options.processes), "--results", str(self.results)]

    def undisturbed(self) -> Results:
        """The results of a run that nothing disturbs."""
        with self.life([]) as process:
            process.wait()
        return self.found()

    def soak(self, draw: random.Random, kills: int, expected: Results, tally: Tally) -> None:
        """Kill the run so often, let it end, and compare its results."""
        tally.runs += 1
        tally.items += self.items
        how = ["--checkpoint", str(self.snapshots), "--every", str(_EVERY_SECONDS), "--resume"]
        try:
            while True:
                tally.resumed += self.newest > 0
                with self.life(how) as process:
                    if kills:
                        code = self.live_on(process, draw)
                    else:
                        code = _ended(process, _HANGS_AFTER_SECONDS)
                    if code is None and kills:
                        self.kill(process)
                        kills -= 1
                        tally.kills += 1
                        continue
                break
            if code != 0:
                said = (self.folder / "said").read_text(errors="replace")
                tally.faults.append("hangs" if code is None else f"exit code {code}: {said}")
                return
            lost, doubled, disordered = weigh(self.found(), expected)
            tally.lost += lost
            tally.doubled += doubled
            tally.disordered += disordered
            tally.left += self.left_behind()
        finally:
            sweep(self.mark)

    @property
    def newest(self) -> int:
        """The number of the newest snapshot."""
        names = (path.name.removeprefix("snapshot-") for path in self.snapshots.glob("snapshot-*"))
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def live_on(self, process: subprocess.Popen[bytes], draw: random.Random) -> int | None:
        """Let a life go on until a random moment: at any time, also before it has begun to work, or
        after some more snapshots. Returns its exit code if it has ended by itself."""
        more = draw.choice(_AFTER_SNAPSHOTS)
        goal, deadline = self.newest + more, time.monotonic() + _HANGS_AFTER_SECONDS
        while self.newest < goal and time.monotonic() < deadline:
            if (code := _ended(process, 0.01)) is not None:
                return code
        return _ended(process, draw.uniform(0, _EVERY_SECONDS if more else _AT_ANY_TIME_SECONDS))

    @contextlib.contextmanager
    def life(self, how: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """A process that runs it, from the beginning or after a snapshot."""
        environment = {
            **os.environ,
            "BENCH_RUN": self.mark,
            "TMPDIR": str(self.temporary),
            "SOAK_ITEMS": str(self.items),
        }
        with (self.folder / "said").open("wb") as said:
            process = subprocess.Popen(
                [*self.command, *how],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                self.kill(process)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill all of a life: the command, its workers, and the server that it started."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pid in marked(self.mark):
            with contextlib.suppress(OSError):
                if b"server" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                    os.kill(pid, signal.SIGKILL)

    def found(self) -> Results:
        """The results that there are."""
        found: Results = {}
        for line in self.results.read_text().splitlines():
            result = json.loads(line)
            found.setdefault(f"{result['pe']}.{result['port']}", []).append(
                json.dumps(result["data"])
            )
        return found

    def left_behind(self) -> list[str]:
        """What is there that should not be."""
        deadline = time.monotonic() + _SETTLES_IN_SECONDS
        while time.monotonic() < deadline:
            left = [f"process {pid}" for pid in marked(self.mark)]
            left += [f"file {path.name}" for path in self.temporary.iterdir()]
            if not left:
                break
            time.sleep(0.05)
        known = {"said", "temporary", "snapshots", "results.jsonl", "lock", "results.log"}
        for path in (*self.folder.iterdir(), *self.snapshots.iterdir()):
            if path.name not in known and not path.name.removeprefix("snapshot-").isdecimal():
                left.append(f"file {path.name}")
        return left


def _ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None


HEADINGS = [
    *("mapping", "runs", "kills", "resumed", "items"),
    *("lost", "doubled", "out of order", "left behind", "other faults"),
]


def report(tallies: dict[str, Tally]) -> str:
    """The table, and what is wrong in words."""
    whole = Tally()
    for tally in tallies.values():
        for name, value in vars(tally).items():
            setattr(whole, name, getattr(whole, name) + value)
    rows = [_cells(mapping, tally) for mapping, tally in {**tallies, "all": whole}.items()]
    faults = [
        f"{mapping}: {fault}"
        for mapping, tally in tallies.items()
        for fault in tally.faults + tally.left
    ]
    return "\n".join([rendered(rows, HEADINGS), *faults])


def _cells(mapping: str, tally: Tally) -> list[str]:
    numbers = (tally.runs, tally.kills, tally.resumed, tally.items, tally.lost, tally.doubled)
    numbers += (tally.disordered, len(tally.left), len(tally.faults))
    return [mapping, *(f"{number:,}" for number in numbers)]
