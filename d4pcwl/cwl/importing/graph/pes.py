"""The PEs that a CWL workflow becomes.

A step is two PEs. Its :class:`JoinPE` gathers tokens until the inputs of an execution are there. It
keeps state, and its work is light. The :class:`ToolPE` after it runs the tool. It keeps no state,
so any free worker may run it. A step that runs a subworkflow has an :class:`EnterPE` after its
join; the PEs in ``ends.py`` gather its outputs.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, is_loop, short_name
from d4pcwl.cwl.importing.cwltool.evaluate import forget_javascript, step_inputs
from d4pcwl.cwl.importing.graph.join import DOT, Join
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.read_along import failed_producer, once, readable_streams
from d4pcwl.cwl.importing.graph.token import Firing, Index, Tag, Token, without_elements
from d4pcwl.errors import PEError, stamped
from d4pcwl.workflow import pe as ports
from d4pcwl.workflow.pe import GenericPE

if TYPE_CHECKING:
    from d4pcwl.cwl.importing.cwltool.tool_run import Outcome

JOB = "(job)"
"""The port for a token that comes once in each run of a workflow, for any inputs."""

AFTER = "(after)"
"""The input of a join through which it waits for steps without taking values from them."""

SKIPPED = "(skipped)"
"""The port through which the outputs of a subworkflow learn that it does not run."""

TASK = "(task)"

TOOL = "tool"
"""The name of the only step, if the document is a tool."""

FAILURES = "(failures)"
"""The port whose items describe, as dictionaries, executions that failed."""

EVENTS = "(events)"
"""The port whose items tell what ran, for the record of the run."""


class TokenPE(GenericPE):
    """A PE that takes and sends tokens. Items of unconnected outputs are not results."""

    ordered = False  # tokens have their place in themselves

    def _add_output(
        self, name: str, tuple_type: Sequence[str] | None = None, *, result: bool = False
    ) -> None:
        super()._add_output(name, tuple_type)
        self.outputconnections[name][ports.RESULT] = result


class InputsPE(TokenPE):
    """The root: sends the inputs of each job.

    It has an output for each input of the document.
    """

    stateful: ClassVar[bool] = False

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.name = "inputs"
        self._add_input("job")
        self.names = [short_name(entry["id"]) for entry in document.process.tool["inputs"]]
        for name in (*self.names, JOB):
            self._add_output(name)

    def process(self, inputs: dict[str, Any]) -> None:
        number, values = inputs["job"]
        _write_values(self, (), (number,), {name: values.get(name) for name in self.names})


class JoinPE(TokenPE):
    """Gathers the inputs of a step.

    :param path: the step
    :param links: its inputs
    """

    stateful: ClassVar[bool] = True

    def __init__(
        self, path: StepPath, links: Iterable[Link], scatter: Iterable[str] = (), method: str = DOT
    ) -> None:
        super().__init__()
        self.name = ("/".join(path) or TOOL) + ".join"
        self.links, self.scatter, self.method = list(links), list(scatter), method
        self._add_output(TASK)
        for link in self.links:
            self._add_input(link.name)
        self._add_input(JOB)
        self._add_input(AFTER)

    def preprocess(self) -> None:
        links = self.links
        if not any(link.sources for link in links):
            links = [*links, Link(JOB, (JOB,))]  # only the token comes that says that it begins
        # A token for two inputs comes twice, but the join must see it once.
        self.ports = {source: link.name for link in reversed(links) for source in link.sources}
        self.join = Join(links, self.scatter, self.method)

    def process(self, inputs: dict[str, Any]) -> None:
        ((port, token),) = inputs.items()
        if self.ports[token.origin] != port:
            return
        for firing in self.join.receive(token):
            if firing.inputs is not None:
                for only_awaited in (JOB, AFTER):
                    firing.inputs.pop(only_awaited, None)
            self.write(TASK, firing)


class ReportingPE(TokenPE):
    """Knows of failures.

    :param reports: True: a failure becomes an item, and the run goes on; False: the PE fails
    :param kept: the folder into which output files are copied for the record of the run; if empty,
        there is no record
    """

    def __init__(self, *, reports: bool, kept: str = "") -> None:
        super().__init__()
        self.kept = kept
        if reports:
            self._add_output(FAILURES, result=True)
        if kept:
            self._add_output(EVENTS, result=True)

    def report(self, failure: dict[str, Any]) -> None:
        """Report a failure, with the message for users.

        :raises PEError: if it ends the run
        """
        if FAILURES not in self.outputconnections:
            raise PEError(failure["message"])
        self.write(FAILURES, failure)


class ExecutingPE(ReportingPE, ABC):
    """The base of ToolPE and EnterPE: they take firings, and may find that the step is skipped.

    :param path: the step; ``()`` if the document is a tool
    :param outputs: the names of its outputs
    """

    stateful: ClassVar[bool] = False

    def __init__(
        self, document: Document, path: StepPath, outputs: Iterable[str], *, reports: bool
    ) -> None:
        super().__init__(reports=reports, kept=document.settings.kept)
        self.document, self.path, self.outputs = document, path, list(outputs)
        self._add_input(TASK)

    def preprocess(self) -> None:
        forget_javascript()

    def process(self, inputs: dict[str, Any]) -> None:
        from d4pcwl.cwl.importing.cwltool.tool_run import explanation

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
                    self.skip(firing)
                else:
                    self.execute(firing, given)
            except PEError:
                raise  # a failure that was already reported
            except Exception as error:  # noqa: BLE001 - whatever it is, the step failed
                self.fail(firing, explanation(error))
                self.deliver(firing, dict.fromkeys(self.outputs), failed=True)

    def evaluate(self, firing: Firing, inputs: dict[str, Any]) -> dict[str, Any] | None:
        """The inputs of the process, or None if the step is skipped."""
        if not self.path:
            return inputs
        step, around = self.document.step(self.path), self.document.workflow(self.path[:-1])
        if is_loop(step):
            return inputs  # the inputs in a loop were evaluated already
        return step_inputs(step, around, inputs, self.context(firing))

    def skip(self, firing: Firing) -> None:
        """Send the outputs of a step that is skipped."""
        self.deliver(firing, dict.fromkeys(self.outputs))

    def context(self, firing: Firing) -> Any:
        """cwltool's runtime context for an execution."""
        context = self.document.settings.running(self.document.basedir, toplevel=not self.path)
        context.secret_store = self.document.secrets
        # The names differ, because cwltool tries numbers for names that it has seen before.
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
        """Whether no more tools are started."""
        return os.path.exists(self.document.settings.stop_mark)

    def fail(self, firing: Firing, message: str, *, unsupported: bool = False) -> None:
        """Report a failure, and start no more tools, if the user asks for that."""
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


class ToolPE(ExecutingPE):
    """Runs a CommandLineTool or an ExpressionTool.

    ``followed`` has the outputs that other steps may read while the tool writes them, and the names
    of their files. If the mapping allows it, their tokens are sent when the tool begins.
    """

    heavy: ClassVar[bool] = True

    def __init__(
        self, document: Document, path: StepPath, outputs: Iterable[str], *, reports: bool
    ) -> None:
        super().__init__(document, path, outputs, reports=reports)
        self.name = self.step = "/".join(path) or TOOL
        self.followed: dict[str, str] = {}
        for name in self.outputs:
            self._add_output(name)

    @property
    def process_class(self) -> str:
        """The class of its process, such as ``CommandLineTool``."""
        return str(self.document.at(self.path).tool["class"])

    def preprocess(self) -> None:
        super().preprocess()
        if not self.document.settings.folder:
            raise PEError(
                "this worker was not started by the run itself: such workers cannot take part in "
                "the run of a CWL document"
            )

    def execute(self, firing: Firing, given: dict[str, Any]) -> None:
        from d4pcwl.cwl.importing.cwltool.tool_run import run_tool

        began, when = time.monotonic(), datetime.now()
        delivered: set[str] = set()
        during = None
        if self.followed and self.hand_on is not None:
            during = partial(self._while_followed, firing, delivered)
        context = self.context(firing)
        settings = self.document.settings
        if self.document.updates_in_place:
            from d4pcwl.cwl.importing.cwltool.updates import SharedMutations

            context.mutation_manager = SharedMutations(settings.folder, lambda: self.stopped)
        outcome = run_tool(self.document.at(self.path), given, context, during)
        if outcome.failed:
            producer = failed_producer(given)
            reason = f"step {producer}, whose stream it read, failed" if producer else None
            self.fail(firing, reason or outcome.description, unsupported=outcome.unsupported)
        elif not settings.quiet:
            where = place(self.path, firing.tag, firing.index) or self.name
            message = f"{where}: done in {time.monotonic() - began:.2f} s\n"
            sys.stderr.write(stamped(message) if settings.timestamps else message)
        if self.kept:
            self._record(firing, when, outcome)
        values = {n: outcome.outputs.get(n) for n in self.outputs if n not in delivered}
        self.deliver(firing, values, failed=outcome.failed)

    def _record(self, firing: Firing, began: datetime, outcome: Outcome) -> None:
        """Tell what ran; its output files are copied before another tool may change them."""
        from d4pcwl.cwl.importing.cwltool.document import plain
        from d4pcwl.cwl.importing.cwltool.research_object import Execution, kept

        event = Execution(
            (self.path[:-1], firing.tag),
            self.path[-1] if self.path else "",
            began,
            datetime.now(),
            plain(outcome.inputs),
            kept(outcome.outputs, self.kept),
            outcome.failed,
            outcome.image,
        )
        self.write(EVENTS, event)

    @contextmanager
    def _while_followed(
        self, firing: Firing, delivered: set[str], outdir: str, outcome: Outcome
    ) -> Iterator[None]:
        """Send the tokens of the streams that the tool is going to write into its folder.

        :param delivered: gets their names
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


class EnterPE(ExecutingPE):
    """Begins a run of a subworkflow: sends its inputs.

    :param names: the inputs of the subworkflow
    :param passed: those that do not come through this PE, see :class:`PassPE`
    """

    def __init__(
        self,
        document: Document,
        path: StepPath,
        outputs: Iterable[str],
        names: Iterable[str],
        passed: Iterable[str],
        *,
        reports: bool,
    ) -> None:
        super().__init__(document, path, outputs, reports=reports)
        self.name = "/".join(path) + ".enter"
        self.passed = set(passed)
        self.names = [name for name in names if name not in self.passed]
        for name in (*self.names, JOB, SKIPPED):
            self._add_output(name)

    def execute(self, firing: Firing, given: dict[str, Any]) -> None:
        from d4pcwl.cwl.importing.cwltool.document import plain

        process = self.document.at(self.path)
        # Any array stands for those that do not come through this PE.
        inputs: Any = {**given, **{name: [] for name in self.passed}}
        job = process._init_job(inputs, self.context(firing)).job
        tag = (*firing.tag, (firing.index, firing.shape))
        values = {name: entry for name, entry in plain(job).items() if name in self.names}
        if self.kept:
            from d4pcwl.cwl.importing.cwltool.research_object import Entered

            self.write(EVENTS, Entered((self.path, tag), datetime.now(), values))
        _write_values(self, self.path, tag, {name: values.get(name) for name in self.names})

    def deliver(self, firing: Firing, values: Mapping[str, Any], *, failed: bool = False) -> None:
        tag = (*firing.tag, (firing.index, firing.shape))
        if failed:  # the inner steps get it, and all that depend on them
            _write_values(self, self.path, tag, dict.fromkeys(self.names), failed=True)
        else:
            self.write(SKIPPED, Token(SKIPPED, tag, dict(values)))


class PassPE(TokenPE):
    """Passes arrays into a subworkflow element by element, as they come.

    Only into one that is neither scattered nor conditional. Then its elements may go in before the
    array is known.

    :param names: the inputs of the subworkflow that go through this PE
    """

    stateful: ClassVar[bool] = False

    def __init__(self, path: StepPath, names: Iterable[str]) -> None:
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


def origin(path: StepPath, name: str) -> str:
    """The origin in tokens of an output of a step, or of a single tool."""
    return "/".join((*path, name))


def place(path: StepPath, tag: Tag, index: Index) -> str:
    """The name of an execution in messages: ``outer[2]/align[3]``."""
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
    pe: GenericPE, path: StepPath, tag: Tag, values: Mapping[str, Any], *, failed: bool = False
) -> None:
    """Send the inputs of a workflow that begins, or tokens that say that it cannot."""
    write: Callable[..., None] = pe.write
    write(JOB, Token(JOB, tag, None, failed=failed))
    for name, value in values.items():
        write(name, Token(input_origin(path, name), tag, value, failed=failed))


def input_origin(path: StepPath, name: str) -> str:
    """The origin of an input of a workflow, for the steps inside it."""
    return origin((*path, ""), name)
