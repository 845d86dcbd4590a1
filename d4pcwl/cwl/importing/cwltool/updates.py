"""Files that tools update in place (``InplaceUpdateRequirement``): control while tools run.

:class:`SharedMutations` does for all processes of a run what cwltool's ``MutationManager`` does for
one. If a tool takes a file that another one has changed in the meantime, or is changing, it is
refused, so that it never gets the wrong content. ``graph/in_place.py`` decides the order of steps.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from d4pcwl.errors import ItemError

_GENERATION = "http://commonwl.org/cwltool#generation"
_WAIT_SECONDS = 0.02


def in_place(process: Any) -> bool:
    """Whether a tool updates files in place."""
    required, _ = process.get_requirement("InplaceUpdateRequirement")
    return bool(required and required.get("inplaceUpdate"))


def any_in_place(process: Any) -> bool:
    """Whether a process, or one that it runs, updates files in place."""
    steps = getattr(process, "steps", ())
    return any(any_in_place(step.embedded_tool) for step in steps) if steps else in_place(process)


class SharedMutations:
    """cwltool's ``MutationManager`` for one execution of a tool, in a run of several processes.

    The state of each file is in a file of the run's folder: its generation, which grows with every
    update, the step that updated it last, and the processes that read it. cwltool refuses to update
    a file that is being read; this waits until the readers are done.

    :param folder: the folder of the run
    :param stopped: called while it waits; True: give up
    """

    def __init__(self, folder: str, stopped: Any) -> None:
        self._folder, self._stopped = os.path.join(folder, "updates"), stopped
        self._reading: list[str] = []

    def register_reader(self, stepname: str, obj: Any) -> None:
        """Note that a tool reads a file.

        :raises WorkflowException: it has been updated since
        """
        with self._state(obj) as state:
            self._check(stepname, "read", obj, state)
            state["readers"].append(os.getpid())
            self._reading.append(obj["location"])

    def release_reader(self, stepname: str, obj: Any) -> None:
        """Note that it has been read."""
        if obj["location"] in self._reading:
            self._reading.remove(obj["location"])
            with self._state(obj) as state, contextlib.suppress(ValueError):
                state["readers"].remove(os.getpid())

    def register_mutation(self, stepname: str, obj: Any) -> None:
        """Note that a tool is going to update a file; wait for its readers.

        :raises WorkflowException: it has been updated since, or is being updated
        """
        import psutil
        from cwltool.errors import WorkflowException

        if obj["location"] in self._reading:
            raise WorkflowException(f"{stepname} wants to modify {obj['location']} and to read it")
        while True:
            with self._state(obj) as state:
                self._check(stepname, "modify", obj, state)
                state["readers"] = list(filter(psutil.pid_exists, state["readers"]))
                if not state["readers"]:
                    state["generation"] += 1
                    state["step"] = stepname
                    return
            if self._stopped():
                raise ItemError(f"{obj['location']} is being read, and the run has been stopped")
            time.sleep(_WAIT_SECONDS)

    def set_generation(self, obj: Any) -> None:
        """Set the mark of a file to its present generation."""
        with self._state(obj) as state:
            obj[_GENERATION] = state["generation"]

    def unset_generation(self, obj: Any) -> None:
        """Remove the mark."""
        obj.pop(_GENERATION, None)

    def release_all(self) -> None:
        """Note that nothing is read any more, because the execution has ended."""
        for location in list(self._reading):
            self.release_reader("", {"location": location})

    def _check(self, stepname: str, what: str, obj: Any, state: dict[str, Any]) -> None:
        from cwltool.errors import WorkflowException

        if obj.get(_GENERATION, 0) != state["generation"]:
            raise WorkflowException(
                f"{stepname} wants to {what} {obj['location']}, but {state['step']} has updated "
                "it in place: use the output of that step instead"
            )

    @contextmanager
    def _state(self, obj: Any) -> Iterator[dict[str, Any]]:
        """The state of a file, which may be changed; no other process sees it meanwhile."""
        os.makedirs(self._folder, exist_ok=True)
        name = hashlib.sha256(obj["location"].encode()).hexdigest()
        with open(os.path.join(self._folder, name), "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            state = json.loads(text) if text else {"generation": 0, "readers": [], "step": ""}
            yield state
            file.seek(0)
            file.truncate()
            json.dump(state, file)
