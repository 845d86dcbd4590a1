"""The PEs that a CWL workflow becomes.

A step is two PEs. Its :class:`JoinPE` gathers tokens until the inputs of an execution are there; it
keeps state, and its work is light. The :class:`ToolPE` behind it runs the tool; it keeps none, so
that mappings may run it wherever there is time. A step that runs a subworkflow has an
:class:`EnterPE` behind its join, and a :class:`LeavePE` where the outputs come out.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from d4pcwl.cwl.importing.document import Document, Path
from d4pcwl.cwl.importing.join import DOT, Join
from d4pcwl.cwl.importing.links import Link, LinkFault
from d4pcwl.cwl.importing.read_along import failed_producer, once, readable_streams
from d4pcwl.cwl.importing.token import Firing, Gathering, Index, Tag, Token, without_elements
from d4pcwl.workflow.pe import GenericPE

if TYPE_CHECKING:
    from d4pcwl.cwl.importing.tool_run import Outcome

JOB = "(job)"
"""The port for what comes once in each run of a workflow, whatever its inputs are."""

SKIPPED = "(skipped)"
"""The port by which the outputs of a subworkflow are told that does not run."""

TASK = "(task)"
FAILURES = "(failures)"
"""The port whose items tell, as dictionaries, of executions that failed."""

RESULT = "result"


class InputsPE(GenericPE):
    """The root: hands out the inputs of each job.

    :param names: the inputs of the workflow
    """

    stateful: ClassVar[bool] = False

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.name = "inputs"
        self._add_input("job")
        self.names = list(names)
        for name in (*self.names, JOB, TASK):
            self._add_output(name)

    def process(self, inputs: dict[str, Any]) -> None:
        number, values = inputs["job"]
        _write_values(self, (), (number,), {name: values.get(name) for name in self.names})
        self.write(TASK, Firing((number,), values))


class JoinPE(GenericPE):
    """Gathers the inputs of a step.

    :param path: the step
    :param links: its inputs
    """

    stateful: ClassVar[bool] = True

    def __init__(
        self, path: Path, links: Iterable[Link], scatter: Iterable[str] = (), method: str = DOT
    ) -> None:
        super().__init__()
        self.name = "/".join(path) + ".join"
        self.links, self.scatter, self.method = list(links), list(scatter), method
        self._add_output(TASK)
        for link in self.links:
            self._add_input(link.name)
        self._add_input(JOB)

    def preprocess(self) -> None:
        links = self.links
        if not any(link.sources for link in links):
            links = [*links, Link(JOB, (JOB,))]  # nothing comes but the news that it begins
        # What two inputs share comes twice, and the join is to see it once.
        self.ports = {source: link.name for link in reversed(links) for source in link.sources}
        self.join = Join(links, self.scatter, self.method)

    def process(self, inputs: dict[str, Any]) -> None:
        ((port, token),) = inputs.items()
        if self.ports[token.origin] != port:
            return
        for firing in self.join.receive(token):
            if firing.inputs is not None:
                firing.inputs.pop(JOB, None)
            self.write(TASK, firing)


class _ReportingPE(GenericPE):
    """Tells of failures."""

    def report(self, failure: dict[str, Any]) -> None:
        """Tell of a failure; what is said here is what people read."""
        self.write(FAILURES, failure)


class _ExecutingPE(_ReportingPE, ABC):
    """What ToolPE and EnterPE share: they take firings, and may find that nothing is to be done.

    :param path: the step; ``()`` where the document is a tool rather than a workflow
    :param outputs: the names of its outputs
    """

    stateful: ClassVar[bool] = False

    def __init__(self, document: Document, path: Path, outputs: Iterable[str]) -> None:
        super().__init__()
        self.document, self.path, self.outputs = document, path, list(outputs)
        self._add_input(TASK)
        self._add_output(FAILURES)

    def preprocess(self) -> None:
        _forget_javascript()

    def process(self, inputs: dict[str, Any]) -> None:
        from d4pcwl.cwl.importing.tool_run import explanation

        firing: Firing = inputs[TASK]
        if firing.fault is not None:
            self.fail(firing, firing.fault)
        if firing.inputs is None and firing.failed:
            self.deliver(firing, dict.fromkeys(self.outputs), failed=True)
        elif firing.inputs is None:
            empty = without_elements(firing.shape)
            self.deliver(replace(firing, index=(), shape=()), dict.fromkeys(self.outputs, empty))
        elif self.stopped:
            self.deliver(firing, dict.fromkeys(self.outputs), failed=True)
        else:
            try:
                given = self.evaluate(firing, firing.inputs)
                if given is None:
                    self.deliver(firing, dict.fromkeys(self.outputs))
                else:
                    self.execute(firing, given)
            except Exception as error:  # noqa: BLE001 - whatever it is, the step failed
                self.fail(firing, explanation(error))
                self.deliver(firing, dict.fromkeys(self.outputs), failed=True)

    def evaluate(self, firing: Firing, inputs: dict[str, Any]) -> dict[str, Any] | None:
        """The inputs of the process, or None where the step is to be skipped."""
        if not self.path:
            return inputs
        from d4pcwl.cwl.importing.evaluate import step_inputs

        step, around = self.document.step(self.path), self.document.workflow(self.path[:-1])
        return step_inputs(step, around, inputs, self.context(firing))

    def context(self, firing: Firing) -> Any:
        """cwltool's runtime context for an execution."""
        context = self.document.settings.running(self.document.basedir, toplevel=not self.path)
        # Names differ: cwltool tries out numbers for names that it has seen before.
        where = place(self.path, firing.tag, firing.index) or self.name
        context.name = f"{where} of {firing.tag[0] + 1}" if firing.tag[0] else where
        return context

    @abstractmethod
    def execute(self, firing: Firing, given: dict[str, Any]) -> None:
        """Run the process."""

    @abstractmethod
    def deliver(self, firing: Firing, values: Mapping[str, Any], *, failed: bool = False) -> None:
        """Send the values of the outputs on."""

    @property
    def stopped(self) -> bool:
        """Whether nothing is to be started any more."""
        return os.path.exists(self.document.settings.stop_mark)

    def fail(self, firing: Firing, message: str, *, unsupported: bool = False) -> None:
        """Tell of a failure, and stop what has not been started, if that is wanted."""
        settings = self.document.settings
        if settings.stop_on_error and not self.stopped:
            with open(settings.stop_mark, "w", encoding="utf-8"):
                pass
        where = place(self.path, firing.tag, firing.index)
        report = {
            "job": firing.tag[0],
            "step": where,
            "message": f"step {where}: {message}" if where else message,
            "unsupported": unsupported,
        }
        self.report(report)


class ToolPE(_ExecutingPE):
    """Runs a CommandLineTool or an ExpressionTool.

    ``followed`` has the outputs that others may read while the tool writes them, and the names of
    their files: where the mapping allows it, they are delivered when the tool begins.
    """

    heavy: ClassVar[bool] = True

    def __init__(self, document: Document, path: Path, outputs: Iterable[str]) -> None:
        super().__init__(document, path, outputs)
        self.name = "/".join(path) or "tool"
        self.followed: dict[str, str] = {}
        for name in self.outputs:
            self._add_output(name)

    def execute(self, firing: Firing, given: dict[str, Any]) -> None:
        from d4pcwl.cwl.importing.tool_run import run_tool

        began = time.monotonic()
        delivered: set[str] = set()
        during = None
        if self.followed and self.hand_on is not None:
            during = partial(self._while_followed, firing, delivered)
        outcome = run_tool(self.document.at(self.path), given, self.context(firing), during)
        if outcome.failed:
            producer = failed_producer(given)
            reason = f"step {producer}, whose stream it read, failed" if producer else None
            self.fail(firing, reason or outcome.description, unsupported=outcome.unsupported)
        elif not self.document.settings.quiet:
            where = place(self.path, firing.tag, firing.index) or self.name
            sys.stderr.write(f"{where}: done in {time.monotonic() - began:.2f} s\n")
        values = {n: outcome.outputs.get(n) for n in self.outputs if n not in delivered}
        self.deliver(firing, values, failed=outcome.failed)

    @contextmanager
    def _while_followed(
        self, firing: Firing, delivered: set[str], outdir: str, outcome: Outcome
    ) -> Iterator[None]:
        """Deliver the streams that the tool is about to write into its folder.

        :param delivered: is told which these are
        """
        assert self.hand_on is not None
        once(self.document.settings.folder, (self.path, firing.tag, firing.index))
        where = place(self.path, firing.tag, firing.index)
        with readable_streams(outdir, self.followed, where, lambda: outcome.failed) as streams:
            self.deliver(firing, streams)
            delivered |= streams.keys()
            self.hand_on()
            yield

    def deliver(self, firing: Firing, values: Mapping[str, Any], *, failed: bool = False) -> None:
        for name, value in values.items():
            self.write(
                name,
                Token(
                    origin(self.path, name), firing.tag, value, firing.index, firing.shape, failed
                ),
            )


class EnterPE(_ExecutingPE):
    """Begins a run of a subworkflow: hands out its inputs.

    :param names: the inputs of the subworkflow
    :param passed: those of them that do not come this way, see :class:`PassPE`
    """

    def __init__(
        self,
        document: Document,
        path: Path,
        outputs: Iterable[str],
        names: Iterable[str],
        passed: Iterable[str] = (),
    ) -> None:
        super().__init__(document, path, outputs)
        self.name = "/".join(path) + ".enter"
        self.passed = set(passed)
        self.names = [name for name in names if name not in self.passed]
        for name in (*self.names, JOB, SKIPPED):
            self._add_output(name)

    def execute(self, firing: Firing, given: dict[str, Any]) -> None:
        from d4pcwl.cwl.importing.document import plain, with_defaults

        process = self.document.at(self.path)
        if self.passed:
            job = with_defaults(process, given, self.names)
        else:
            job = process._init_job(given, self.context(firing)).job
        tag = (*firing.tag, (firing.index, firing.shape))
        values = plain(job)
        _write_values(self, self.path, tag, {name: values.get(name) for name in self.names})

    def deliver(self, firing: Firing, values: Mapping[str, Any], *, failed: bool = False) -> None:
        tag = (*firing.tag, (firing.index, firing.shape))
        if failed:  # the inner steps hear of it, and all that depends on them
            _write_values(self, self.path, tag, dict.fromkeys(self.names), failed=True)
        else:
            self.write(SKIPPED, Token(SKIPPED, tag, dict(values)))


class PassPE(GenericPE):
    """Passes arrays into a subworkflow element by element, as they come.

    Only into one that is neither scattered nor conditional: then nothing has to be known of an
    array before its elements may go in.

    :param names: the inputs of the subworkflow that go this way
    """

    stateful: ClassVar[bool] = False

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        super().__init__()
        self.name = "/".join(path) + ".pass"
        self.path = path
        for name in names:
            self._add_input(name)
            self._add_output(name)

    def process(self, inputs: dict[str, Any]) -> None:
        ((name, token),) = inputs.items()
        inner = replace(token, origin=input_origin(self.path, name), tag=(*token.tag, ((), ())))
        self.write(name, inner)


class LeavePE(_ReportingPE):
    """Ends runs of a subworkflow: its outputs become those of the step.

    :param links: the outputs of the subworkflow
    :param outputs: those of them that the step has
    """

    stateful: ClassVar[bool] = True

    def __init__(self, path: Path, links: Iterable[Link], outputs: Iterable[str]) -> None:
        super().__init__()
        self.name = "/".join(path) + ".leave"
        self.path = path
        wanted = set(outputs)
        self.links = [link for link in links if link.name in wanted]
        for link in self.links:
            self._add_input(link.name)
            self._add_output(link.name)
        self._add_input(JOB)
        self._add_input(SKIPPED)
        self._add_output(FAILURES)

    def preprocess(self) -> None:
        self.gathers = {link.name: _Output(link) for link in self.links}

    def process(self, inputs: dict[str, Any]) -> None:
        ((port, token),) = inputs.items()
        if port == SKIPPED:
            for name in self.gathers:
                self._send(name, token.tag, token.value[name], False)
        elif port == JOB:
            for name, gather in self.gathers.items():
                if not gather.link.sources:
                    self._send(name, token.tag, None, token.failed)
        else:
            self._leave(self.gathers[port], token)

    def _leave(self, gather: _Output, token: Token) -> None:
        if token.shape and gather.link.streams and token.tag[-1] == ((), ()):
            # An element of an array that the step makes, since it is not scattered itself.
            name = gather.link.name
            self.write(name, replace(token, origin=origin(self.path, name), tag=token.tag[:-1]))
            return
        found = gather.receive(token)
        if found is not None:
            value, failed, fault = found
            if fault:
                where = place(self.path, token.tag[:-1], token.tag[-1][0])
                message = f"step {where}: {fault}"
                report = {"job": token.tag[0], "step": where, "message": message}
                self.report({**report, "unsupported": False})
            self._send(gather.link.name, token.tag, value, failed)

    def _send(self, name: str, tag: Tag, value: Any, failed: bool) -> None:
        index, shape = tag[-1]
        self.write(name, Token(origin(self.path, name), tag[:-1], value, index, shape, failed))


class OutputsPE(_ReportingPE):
    """The end: the output object of each job, as ``(number, outputs, failed)``.

    :param links: the outputs of the document
    """

    stateful: ClassVar[bool] = True

    def __init__(self, links: Iterable[Link]) -> None:
        super().__init__()
        self.name = "outputs"
        self.links = list(links)
        for link in self.links:
            self._add_input(link.name)
        self._add_input(JOB)
        self._add_output(RESULT)
        self._add_output(FAILURES)

    def preprocess(self) -> None:
        self.gathers = {link.name: _Output(link) for link in self.links}
        self.made: dict[int, dict[str, Any]] = {}
        self.failed: set[int] = set()

    def process(self, inputs: dict[str, Any]) -> None:
        ((port, token),) = inputs.items()
        number = token.tag[0]
        made = self.made.setdefault(number, {})
        if port == JOB:
            made |= {name: None for name, g in self.gathers.items() if not g.link.sources}
        else:
            found = self.gathers[port].receive(token)
            if found is None:
                return
            made[port], failed, fault = found
            if failed:
                self.failed.add(number)
            if fault:
                report = {"job": number, "step": "", "message": fault, "unsupported": False}
                self.report(report)
        if len(made) == len(self.gathers):
            ordered = {name: made[name] for name in self.gathers}
            self.hand_out(number, ordered, number in self.failed)
            del self.made[number]
            self.failed.discard(number)

    def hand_out(self, number: int, outputs: dict[str, Any], failed: bool) -> None:
        """Give the output object of a job away."""
        self.write(RESULT, (number, outputs, failed))


class _Output:
    """Gathers one output of a workflow; what has failed leaves null in its place."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._whole: dict[Tag, dict[str, tuple[Any, bool]]] = {}
        self._streams: dict[tuple[Tag, str], Gathering] = {}

    def receive(self, token: Token) -> tuple[Any, bool, str] | None:
        """Take a token; value, whether it failed, and why, once that is known."""
        whole = self._whole.setdefault(token.tag, {})
        if token.shape:
            key = (token.tag, token.origin)
            stream = self._streams.setdefault(key, Gathering(token.shape))
            stream.add(token.index, token.value, token.failed)
            if not stream.complete:
                return None
            whole[token.origin] = stream.whole()
            del self._streams[key]
        else:
            whole[token.origin] = (token.value, token.failed)
        if len(whole) < len(set(self.link.sources)):
            return None
        del self._whole[token.tag]
        failed = any(failed for _, failed in whole.values())
        try:
            value = self.link.resolve({source: value for source, (value, _) in whole.items()})
        except LinkFault as fault:
            return None, True, "" if failed else str(fault)
        return value, failed, ""


def origin(path: Path, name: str) -> str:
    """What tokens of an output of a step, or of an input of a workflow, say they come from."""
    return "/".join((*path, name)) if path else f"/{name}"


def place(path: Path, tag: Tag, index: Index) -> str:
    """How messages call an execution: ``outer[2]/align[3]``."""
    indices = [*(entry[0] for entry in tag[1:]), index]
    return (
        "/".join(
            name + "".join(f"[{number}]" for number in at)
            for name, at in zip(path, indices, strict=True)
        )
        if path
        else ""
    )


def _write_values(
    pe: GenericPE, path: Path, tag: Tag, values: Mapping[str, Any], *, failed: bool = False
) -> None:
    """Hand out the inputs of a workflow that begins, or the news that it cannot."""
    write: Callable[..., None] = pe.write
    write(JOB, Token(JOB, tag, None, failed=failed))
    for name, value in values.items():
        write(name, Token(input_origin(path, name), tag, value, failed=failed))


def input_origin(path: Path, name: str) -> str:
    """The origin of an input of a workflow, as those inside see it."""
    return origin((*path, ""), name)


def end_javascript() -> None:
    """End the processes by which this one has had expressions evaluated."""
    from cwl_utils import sandboxjs

    engine: Any = sandboxjs.get_js_engine()
    for process in getattr(engine, "processes_to_kill", ()):
        process.kill()
        process.communicate()
    _forget_javascript()


def _forget_javascript() -> None:
    """Have expressions evaluated by a process of this worker's own, not one that it inherited."""
    import threading
    from collections import deque

    from cwl_utils import sandboxjs

    engine: Any = sandboxjs.get_js_engine()
    engine.localdata = threading.local()
    engine.processes_to_kill = deque()
