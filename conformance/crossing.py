"""Crossing: cells are run, several at a time, and judged."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from cases import Case
from compare import Outcome, differences
from engines import Engine, EngineFailure, available, missing
from processes import end_children
from runs import NEEDED, Bench, Environment, Refusal, RunFailure, environment
from verdict import DOCKER, NATIVE, PASSED, Cell, Kind, Verdict

_TIME = re.compile(r"^\d{4}-\d\d-\d\d \S+\s+")
"""What loggers begin their lines with: it would make equal reasons differ."""


def say(message: str) -> None:
    """Progress and complaints, on standard error."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


class Crossing:
    """Runs cells, several at a time."""

    def __init__(self, bench: Bench, cases: Sequence[Case], jobs: int, image: str = "") -> None:
        self.engines: dict[str, Engine] = available()
        self._missing = missing()
        self._image = image
        self._bench = bench
        self._cases = {case.name: case for case in cases}
        self._environments: dict[str, Environment] = {}
        self._pool = ThreadPoolExecutor(jobs)
        self._stopping = threading.Event()
        self._references: dict[str, Future[Outcome]] = {}
        self._documents: dict[tuple[str, str, bool], Future[Path]] = {}

    def run(self, cells: Sequence[Cell]) -> dict[Cell, Verdict]:
        """What comes out of each cell."""
        for place in dict.fromkeys([NATIVE, *(cell.place for cell in cells)]):
            self._look_at(place)
        runnable = [cell for cell in cells if self._why_not(cell) is None]
        for name in dict.fromkeys(cell.workflow for cell in runnable):
            self._references[name] = self._pool.submit(self._reference, self._cases[name])
        for cell in runnable:
            key = _document_of(cell)
            if cell.place != NATIVE and key not in self._documents:
                case, image = self._cases[cell.workflow], self._image if key[2] else ""
                submitted = self._pool.submit(self._bench.compile, case, cell.form, image)
                self._documents[key] = submitted
        futures = {cell: self._pool.submit(self._judge, cell) for cell in cells}
        verdicts: dict[Cell, Verdict] = {}
        for done, (cell, future) in enumerate(futures.items(), 1):
            verdict, seconds = future.result()
            verdicts[cell] = verdict
            first = verdict.reason.splitlines()[0] if verdict.reason else ""
            said = f"{verdict.kind.value} {f'{seconds:.1f} s' if seconds else ''} {first[:150]}"
            say(f"[{done}/{len(cells)}] {cell}: {said.strip()}")
        self._pool.shutdown()
        return verdicts

    def stop(self) -> None:
        """End all that runs."""
        self._stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for thread in threading.enumerate():
            while thread.name.startswith("ThreadPoolExecutor") and thread.is_alive():
                end_children()
                thread.join(0.2)

    def _look_at(self, place: str) -> None:
        """Find out what steps that run there have."""
        python: list[object] = [sys.executable]
        if place == DOCKER:
            python = ["docker", "run", "--rm", "--network", "none", self._image, "python3"]
        elif place in self._missing:
            return
        elif place != NATIVE:
            python = [self.engines[place].venv / "bin" / "python"]
        found = self._environments[place] = environment(python)
        here = self._environments[NATIVE].code
        if place != DOCKER and found.code != here:
            say(f"note: steps on {place} run the d4pcwl of {found.code}, not of {here}")

    def _why_not(self, cell: Cell) -> str | None:
        """Why a cell cannot be run here, if it cannot."""
        fault = self._cases[cell.workflow].faulty.get(cell.place)
        if fault:
            return fault
        for name in ("cwltool", cell.place):  # cwltool checks the documents
            if cell.place != NATIVE and name in self._missing:
                return self._missing[name]
        for place in (NATIVE, cell.place):
            for module in (*self._cases[cell.workflow].modules, *NEEDED.get(cell.mapping, ())):
                if module not in self._environments[place].modules:
                    return f"no {module}" + ("" if place == NATIVE else f" for {place}")
        return None

    def _reference(self, case: Case) -> Outcome:
        self._bench.prepare(case)
        outcome = self._bench.native(case, "simple", "reference")
        if not (outcome.results or outcome.printed or outcome.files):
            raise RunFailure("the reference has nothing that could be compared")
        empty = [name for name, tree in outcome.files.items() if not tree]
        if empty:
            raise RunFailure(f"the reference leaves no {', '.join(empty)}")
        return outcome

    def _judge(self, cell: Cell) -> tuple[Verdict, float]:
        """What comes out of a cell, and how many seconds it took."""
        if self._stopping.is_set():
            raise KeyboardInterrupt
        reason = self._why_not(cell)
        if reason:
            return Verdict(Kind.SKIPPED, reason), 0.0
        try:
            reference = self._references[cell.workflow].result()
        except (RunFailure, subprocess.TimeoutExpired) as error:
            return Verdict(Kind.FAIL, f"the reference: {error}"), 0.0
        case = self._cases[cell.workflow]
        expected = case.refusal(cell.place, cell.form)
        if cell.place != NATIVE:
            wait([self._documents[_document_of(cell)]])
        began = time.monotonic()
        try:
            found = self._outcome(case, cell)
        except (Refusal, RunFailure, EngineFailure, subprocess.TimeoutExpired, ValueError) as error:
            said = str(error)
            if expected and expected in said:
                verdict = Verdict(Kind.REFUSED, _line_with(expected, said))
            else:
                verdict = Verdict(Kind.FAIL, said)
        else:
            ordered = case.ordered_sharded if cell.form == "sharded" else case.ordered
            faults = differences(reference, found, ordered, case.unlike)
            if expected:
                faults = [f"it was to be refused: {expected}"]
            verdict = Verdict(Kind.FAIL, "\n".join(faults)) if faults else PASSED
        return verdict, time.monotonic() - began

    def _outcome(self, case: Case, cell: Cell) -> Outcome:
        if cell.place == NATIVE:
            return self._bench.native(case, cell.mapping, f"native-{cell.mapping}")
        document = self._documents[_document_of(cell)].result()
        label = f"{cell.place}-{cell.form}-{cell.mapping}"
        if cell.place == DOCKER:
            engine = replace(self.engines["cwltool"], containers=True)
        else:
            engine = self.engines[cell.place]
        return self._bench.on_engine(case, engine, document, cell.mapping, label)


def _document_of(cell: Cell) -> tuple[str, str, bool]:
    """What documents are told apart by: only one that is run in containers names an image."""
    return cell.workflow, cell.form, cell.place == DOCKER


def _line_with(part: str, text: str) -> str:
    """The line of a message in which ``part`` stands, without the command's name, and the time."""
    line = next(line for line in text.splitlines() if part in line)
    return _TIME.sub("", line.partition("dispel4py: error: ")[2] or line.strip())
