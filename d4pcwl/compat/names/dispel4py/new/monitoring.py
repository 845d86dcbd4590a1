"""``dispel4py.new.monitoring``: how long a PE takes."""

from __future__ import annotations

import time
from typing import Any

from d4pcwl.workflow.pe import GenericPE
from d4pcwl.workflow.state import keeps_state

__all__ = ["ProcessTimingPE", "Timer"]


class Timer:
    """Measures the time that the body of a ``with`` takes: ``secs``, in seconds."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self.secs = 0.0

    def __enter__(self) -> Timer:
        self.start = time.time()
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.secs = time.perf_counter() - self._begun
        self.end = self.start + self.secs


class ProcessTimingPE(GenericPE):
    """A PE in the place of another: it does what that one does, and logs the mean time it took.

    It has the other's name, ports and number of instances.

    :param baseObject: the PE to measure
    """

    def __init__(self, baseObject: Any) -> None:  # noqa: N803 - upstream's name
        super().__init__(baseObject.numprocesses)
        self.baseObject = baseObject
        self.name = self.id = baseObject.name
        self.inputconnections = baseObject.inputconnections
        self.outputconnections = baseObject.outputconnections
        self.__dict__["single"] = getattr(baseObject, "single", False)
        # The times that are kept here change no result.
        self.stateful = keeps_state(baseObject) is not None
        self.times_total = 0.0
        self.times_count = 0

    def preprocess(self) -> None:
        base = self.baseObject
        base.id, base.rank = self.id, getattr(self, "rank", None)
        base.outputconnections = self.outputconnections  # its writes are this PE's
        base.preprocess()

    def process(self, inputs: dict[str, Any]) -> Any:
        with Timer() as timer:
            result = self.baseObject.process(inputs)
        self.times_total += timer.secs
        self.times_count += 1
        return result

    def postprocess(self) -> None:
        self.baseObject.postprocess()
        if self.times_count:
            self.log(f"Average processing time: {self.times_total / self.times_count}")
