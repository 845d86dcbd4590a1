"""Files that tools update in place (``InplaceUpdateRequirement``): who may, while tools run.

:class:`SharedMutations` is for all processes of a run what cwltool's ``MutationManager`` is for
one: a tool that wants what another one has changed since, or changes, is refused rather than given
the wrong content. Which steps come after which, ``graph/in_place.py`` says.
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

    What is known of each file is in a file of the run's folder: its generation, which grows with
    every update, who updated it last, and which processes read it. Where cwltool refuses to update
    what is being read, this waits until those who read it are done.

    :param folder: the run's
    :param stopped: asked while it waits, whether it is to give up
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
        """Note that a tool is going to update a file; waits for those who read it.

        :raises WorkflowException: it has been updated since, or is being updated
        """
        from cwltool.errors import WorkflowException

        if obj["location"] in self._reading:
            raise WorkflowException(f"{stepname} wants to modify {obj['location']} and to read it")
        while True:
            with self._state(obj) as state:
                self._check(stepname, "modify", obj, state)
                state["readers"] = [pid for pid in state["readers"] if _is_alive(pid)]
                if not state["readers"]:
                    state["generation"] += 1
                    state["step"] = stepname
                    return
            if self._stopped():
                raise ItemError(f"{obj['location']} is being read, and the run has been stopped")
            time.sleep(_WAIT_SECONDS)

    def set_generation(self, obj: Any) -> None:
        """Mark a file as what it is now."""
        with self._state(obj) as state:
            obj[_GENERATION] = state["generation"]

    def unset_generation(self, obj: Any) -> None:
        """Remove the mark."""
        obj.pop(_GENERATION, None)

    def release_all(self) -> None:
        """Note that nothing is read any more: the execution has ended, however."""
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
        """What is known of a file, and may be changed; nobody else sees it meanwhile."""
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


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
