"""The PEs at the ends of workflows: they gather outputs, and send complete ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, short_name
from d4pcwl.cwl.importing.graph.links import Link, LinkFault
from d4pcwl.cwl.importing.graph.pes import EVENTS, JOB, SKIPPED, ReportingPE, origin, place
from d4pcwl.cwl.importing.graph.token import Gathering, Tag, Token

RESULT = "result"


class LeavePE(ReportingPE):
    """Ends runs of a subworkflow: its outputs become those of the step.

    :param links: the outputs of the subworkflow that the step has
    """

    stateful: ClassVar[bool] = True

    def __init__(
        self, path: StepPath, links: Iterable[Link], *, reports: bool, kept: str = ""
    ) -> None:
        super().__init__(reports=reports, kept=kept)
        self.name = "/".join(path) + ".leave"
        self.path = path
        self.links = list(links)
        for link in self.links:
            self._add_input(link.name)
            self._add_output(link.name)
        self._add_input(JOB)
        self._add_input(SKIPPED)

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
        streams = token.shape and gather.link.streams and token.tag[-1] == ((), ())
        if streams and not self.kept:  # a record has whole outputs
            # An element of an array that the step makes, because it is not scattered itself.
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
            if self.kept and not failed:
                from d4pcwl.cwl.importing.cwltool.research_object import SubworkflowOutput

                run = (self.path, token.tag)
                self.write(EVENTS, SubworkflowOutput(run, datetime.now(), gather.link.name, value))
            self._send(gather.link.name, token.tag, value, failed)

    def _send(self, name: str, tag: Tag, value: Any, failed: bool) -> None:
        index, shape = tag[-1]
        self.write(name, Token(origin(self.path, name), tag[:-1], value, index, shape, failed))


class OutputsPE(ReportingPE):
    """The end: the output object of each job, as ``(number, outputs, failed)``.

    It has an input for each output of the document; ``links`` has their links.
    """

    stateful: ClassVar[bool] = True

    def __init__(self, document: Document, *, reports: bool) -> None:
        super().__init__(reports=reports)
        self.name = "outputs"
        self.links: list[Link] = []
        for entry in document.process.tool["outputs"]:
            self._add_input(short_name(entry["id"]))
        self._add_input(JOB)
        self._add_output(RESULT, result=True)

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
        """Send the output object of a job."""
        self.write(RESULT, (number, outputs, failed))


class _Output:
    """Gathers one output of a workflow; a failed value becomes null."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._whole: dict[Tag, dict[str, tuple[Any, bool]]] = {}
        self._streams: dict[tuple[Tag, str], Gathering] = {}

    def receive(self, token: Token) -> tuple[Any, bool, str] | None:
        """Take a token; return value, whether it failed, and why, when that is known."""
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
