"""Loops: a step that runs again on its own outputs, as long as ``when`` is true (CWL 1.3).

cwltool's library turns ``cwltool:Loop`` of v1.2 into the same. A loop is a cycle of PEs. The
:class:`LoopPE` sends the inputs of each iteration to the tool, or into the subworkflow, and their
outputs come back to it. The index of the tokens distinguishes iterations, as it does for elements
of a scatter. So several runs of a loop, for elements of a scatter around it, go on side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, short_name
from d4pcwl.cwl.importing.graph.links import Link, LinkFault
from d4pcwl.cwl.importing.graph.pes import TASK, ExecutingPE, origin
from d4pcwl.cwl.importing.graph.token import Firing, Tag, Token
from d4pcwl.workflow.graph import WorkflowGraph

ITERATION = "(iteration)"
"""The port through which an iteration's inputs go to the process of the loop."""


def chained(graph: WorkflowGraph, join: Any, loop: LoopPE | None, first: Any, last: Any) -> Any:
    """Connect the process of a step with its join: through the loop, if the step is one.

    :param first: the PE that begins an execution
    :param last: the one that has its outputs
    :returns: the PE that has the outputs of the step
    """
    if loop is None:
        graph.connect(join, TASK, first, TASK)
        return last
    graph.connect(join, TASK, loop, TASK)
    graph.connect(loop, ITERATION, first, TASK)
    for name in loop.outputs:
        graph.connect(last, name, loop, name)
    return loop


@dataclass
class _Turn:
    """The state of one run of a loop.

    :param values: the inputs of the running iteration, also those that only expressions use
    :param made: by output, the value of this iteration, and whether it failed
    :param kept: by output, the values of earlier iterations
    """

    firing: Firing
    values: dict[str, Any]
    number: int = 0
    made: dict[str, tuple[Any, bool]] = field(default_factory=dict)
    kept: list[dict[str, Any]] = field(default_factory=list)


class LoopPE(ExecutingPE):
    """Runs the iterations of a loop.

    :param outputs: the outputs of the step
    :param links: the links from them to the inputs that change
    """

    stateful: ClassVar[bool] = True

    def __init__(
        self,
        document: Document,
        path: StepPath,
        outputs: Iterable[str],
        links: Iterable[Link],
        *,
        reports: bool,
    ) -> None:
        super().__init__(document, path, outputs, reports=reports)
        self.name = "/".join(path) + ".loop"
        self.links = list(links)
        for name in self.outputs:
            self._add_input(name)
            self._add_output(name)
        self._add_output(ITERATION)

    def preprocess(self) -> None:
        super().preprocess()
        self.turns: dict[Tag, _Turn] = {}
        tool: Any = self.document.step(self.path).tool
        self.keeps_all = tool.get("outputMethod") == "all_iterations"
        entries = {short_name(entry["id"]): entry for entry in tool["loop"]}
        self.expressions = {n: e["valueFrom"] for n, e in entries.items() if "valueFrom" in e}

    def process(self, inputs: dict[str, Any]) -> None:
        ((port, item),) = inputs.items()
        if port == TASK:
            super().process(inputs)
            return
        turn = self.turns[item.tag]
        turn.made[port] = (item.value, item.failed)
        if len(turn.made) == len(self.outputs) and self._go_on(turn):
            self._iterate(turn)

    def evaluate(self, firing: Firing, inputs: dict[str, Any]) -> dict[str, Any] | None:
        from d4pcwl.cwl.importing.cwltool.evaluate import StepExpressions

        step = self.document.step(self.path)
        expressions = StepExpressions(step, step, self.context(firing))
        values = expressions.values(inputs)
        return values if expressions.wanted(values) else None

    def skip(self, firing: Firing) -> None:
        self.deliver(firing, {name: [] if self.keeps_all else None for name in self.outputs})

    def execute(self, firing: Firing, given: dict[str, Any]) -> None:
        turn = self.turns[firing.tag] = _Turn(firing, given)
        self._iterate(turn)

    def deliver(self, firing: Firing, values: Mapping[str, Any], *, failed: bool = False) -> None:
        for name, value in values.items():
            self.write(name, Token(origin(self.path, name), firing.tag, value, failed=failed))

    def _iterate(self, turn: _Turn) -> None:
        """Begin an iteration; or all of them, if there are no outputs that would show the end."""
        from d4pcwl.cwl.importing.cwltool.evaluate import taken

        another = True
        while another:
            given = taken(self.document.step(self.path), turn.values)
            self.write(ITERATION, replace(turn.firing, inputs=given, index=(turn.number,)))
            another = not self.outputs and self._go_on(turn)

    def _go_on(self, turn: _Turn) -> bool:
        """Prepare the next iteration, or send the outputs of the loop.

        :returns: whether there is another iteration
        """
        from d4pcwl.cwl.importing.cwltool.tool_run import explanation

        firing = replace(turn.firing, index=(turn.number,))
        failed = self.stopped or any(failed for _, failed in turn.made.values())
        another = False
        try:
            if not failed:
                made = {name: value for name, (value, _) in turn.made.items()}
                if not self.keeps_all:
                    turn.kept.clear()
                turn.kept.append(made)
                another = self._set_next(turn, made, firing)
        except LinkFault as fault:
            failed = True
            self.fail(firing, str(fault))
        except Exception as error:  # noqa: BLE001 - whatever it is, the step failed
            failed = True
            self.fail(firing, explanation(error))
        if another:
            turn.made.clear()
            turn.number += 1
            return True
        del self.turns[firing.tag]
        if failed:
            self.deliver(turn.firing, dict.fromkeys(self.outputs), failed=True)
        elif self.keeps_all:
            values = {name: [made[name] for made in turn.kept] for name in self.outputs}
            self.deliver(turn.firing, values)
        else:
            self.deliver(turn.firing, turn.kept[-1])
        return False

    def _set_next(self, turn: _Turn, made: Mapping[str, Any], firing: Firing) -> bool:
        """Set the inputs of the next iteration; return whether there is one.

        :raises LinkFault: ``pickValue`` finds no value, or too many
        :raises WorkflowException: an expression fails
        """
        from d4pcwl.cwl.importing.cwltool.evaluate import StepExpressions

        step = self.document.step(self.path)
        expressions = StepExpressions(step, step, self.context(firing))
        sources = {origin(self.path, name): value for name, value in made.items()}
        changed = {link.name: link.resolve(sources) for link in self.links}
        for name, expression in self.expressions.items():
            changed[name] = expressions.value(expression, changed[name], turn.values)
        turn.values = {**turn.values, **changed}
        return expressions.wanted(turn.values)
