"""The instance loop, written once for all mappings: one PE copy, its items in, its items out.

``receive`` functions are closures rather than methods, with one variant for the base classes whose
``process`` is known: they run for every item, and a stream's speed is theirs.
"""

from __future__ import annotations

import copy
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from types import GeneratorType
from typing import Any

from d4pcwl.errors import D4pcwlError, OutputError, PEError, brief
from d4pcwl.runtime.engine.drawing import Draws
from d4pcwl.runtime.engine.policy import FAIL, Policy, time_limit
from d4pcwl.runtime.engine.values import IMMUTABLE, snapshot
from d4pcwl.workflow.load import is_an_order, user_fault
from d4pcwl.workflow.pe import (
    WRITER,
    ConsumerPE,
    GenericPE,
    IterativePE,
    SimpleFunctionPE,
    log_line,
    unknown_port,
)

Receive = Callable[[Any], None]
"""Takes one item."""


class Halt(BaseException):
    """Ends the run from within a PE's call; not an Exception, so that no PE swallows it."""

    def __init__(self, error: D4pcwlError) -> None:
        super().__init__(str(error))
        self.error = error


class _Port:
    """What ``outputconnections[name]['writer']`` holds while a PE runs."""

    __slots__ = ("write",)

    def __init__(self, write: Receive) -> None:
        self.write = write


class RunningPE:
    """One instance of a PE, bound to where its items go.

    :param pe: the instance's own copy of the PE
    :param title: how messages call the instance
    :param rank: the instance's index in the plan
    :param in_cycle: the PE may be sent items while it is at work on one
    :param policy: what to do about an item on which it fails
    :param leave_out: takes the descriptions of items that are left out
    :param seed: of the random numbers that the PE draws
    :param halts: the failures, by rank, of all instances in the process
    """

    def __init__(
        self,
        pe: Any,
        title: str,
        rank: int,
        *,
        in_cycle: bool,
        policy: Policy = FAIL,
        leave_out: Receive | None = None,
        halts: dict[int, Halt] | None = None,
        seed: int = 0,
    ) -> None:
        self.pe = pe
        self.title = title
        self._policy = policy
        self._leave_out = leave_out
        self._held: list[tuple[Receive, Any]] | None = None
        self._rank, self._halts = rank, {} if halts is None else halts
        self._emitters: dict[str, Receive] = {}
        self._counts: dict[str, Callable[[], int]] = {}
        self._receivers: dict[str, Receive] = {}
        self._guard = _one_at_a_time() if in_cycle else None
        pe.rank = rank
        self._draws = Draws(pe, seed) if getattr(pe, "numbered", False) else None
        if not hasattr(pe, "log"):  # one of upstream's classes
            pe.log = lambda message: log_line(pe, message)
        cls = type(pe)
        if getattr(cls, "write", None) is GenericPE.write and cls._write is GenericPE._write:
            pe.write = self._write  # one call instead of three for every item written

    def bind(self, output: str, emit: Receive) -> None:
        """Say what takes the items of an output; to be done before the first receiver is made."""
        if self._policy != FAIL:
            emit = self._holding(output, emit)
        self._emitters[output] = emit
        self.pe.outputconnections[output][WRITER] = _Port(_expanding(emit))

    def let_hand_on(self, hand_on: Callable[[], None]) -> None:
        """Let the PE hand on what it has written while it is at work on an item.

        With a policy it may not: what an attempt writes is held back until it has succeeded.
        """
        if self._policy == FAIL:
            self.pe.hand_on = hand_on

    @property
    def count(self) -> int:
        """How many items the instance has taken."""
        return sum(count() for count in self._counts.values())

    def start(self) -> None:
        """Run ``preprocess``."""
        self._begin("preprocess")
        self._call(self.pe.preprocess, "in preprocess")

    def finish(self) -> None:
        """Run ``postprocess``, and write what it returns."""
        self._begin("postprocess")
        self._write_result(self._call(self.pe.postprocess, "in postprocess"), "in postprocess")

    def _begin(self, what: int | str) -> None:
        if self._draws is not None:
            self._draws.begin(what)

    def process(self, inputs: dict[str, Any]) -> None:
        """Run ``process`` once on a dictionary of inputs, as roots are given them."""
        name, item = "", inputs
        if len(inputs) == 1:
            ((only, value),) = inputs.items()
            if only in self.pe.inputconnections:
                name, item = only, value
        receive = self.receiver(name)
        receive(item if self._draws is None else (self._draws.next_given(), item))

    def receiver(self, name: str) -> Receive:
        """What takes the items of input ``name``; ``""`` takes whole input dictionaries. They come
        with their numbers, as pairs, where the PE draws."""
        if name not in self._receivers:
            receive, count = self._make_receiver(name)
            if self._draws is not None:
                receive = self._draws.of_numbered(receive)
            self._counts[name] = count
            self._receivers[name] = self._guard(receive) if self._guard else receive
        return self._receivers[name]

    def _make_receiver(self, name: str) -> tuple[Receive, Callable[[], int]]:
        cls = type(self.pe).process
        if self._policy != FAIL:
            return self._careful_receiver(name)
        if name == "input" and cls is IterativePE.process and self._usual_ports():
            return self._direct_receiver(name, self._emitters[self.pe.OUTPUT_NAME])
        if name == "input" and cls is ConsumerPE.process and self._usual_ports():
            return self._direct_receiver(name, None)
        return self._general_receiver(name)

    def _usual_ports(self) -> bool:
        return self.pe.INPUT_NAME == "input" and (
            isinstance(self.pe, ConsumerPE) or self.pe.OUTPUT_NAME in self._emitters
        )

    def _direct_receiver(
        self, name: str, emit: Receive | None
    ) -> tuple[Receive, Callable[[], int]]:
        """For PEs of one input whose ``process`` only calls ``_process``."""
        work, fail, number = self._direct_work(), self._fail, 0
        if emit is None or type(self.pe).write is not GenericPE.write:
            # A consumer returns nothing; a PE with a write of its own sees all that it writes.
            emit = None if isinstance(self.pe, ConsumerPE) else self._write_as_user
        if emit is None:

            def consume(item: Any) -> None:
                nonlocal number, work
                number += 1
                try:
                    result = work(item)
                except BaseException as error:
                    if is_an_order(error):
                        raise
                    work = self._stay_halted
                    fail(error, f"on item {number} of '{name}'")
                    return
                if type(result) is GeneratorType:  # a _process that writes by `yield` alone works
                    self._drain(result, _drop, f"on item {number} of '{name}'")

            return consume, lambda: number

        send = emit

        def receive(item: Any) -> None:
            nonlocal number, work
            number += 1
            try:
                result = work(item)
            except BaseException as error:
                if is_an_order(error):
                    raise
                work = self._stay_halted
                fail(error, f"on item {number} of '{name}'")
                return
            if result is None:
                return
            if type(result) is GeneratorType:
                self._drain(result, send, f"on item {number} of '{name}'")
            else:
                send(result)

        return receive, lambda: number

    def _direct_work(self) -> Callable[[Any], Any]:
        pe = self.pe
        if type(pe)._process is SimpleFunctionPE._process and callable(pe.compute_fn):
            if not pe.params:
                return pe.compute_fn  # type: ignore[no-any-return]
            params, function = pe.params, pe.compute_fn
            return lambda item: function(item, **params)
        return pe._process  # type: ignore[no-any-return]

    def _write_as_user(self, item: Any) -> None:
        self.pe.write(self.pe.OUTPUT_NAME, item)

    def _general_receiver(self, name: str) -> tuple[Receive, Callable[[], int]]:
        work, fail, number = self.pe.process, self._fail, 0

        def receive(item: Any) -> None:
            nonlocal number, work
            number += 1
            try:
                result = work({name: item} if name else item)
            except BaseException as error:
                if is_an_order(error):
                    raise
                work = self._stay_halted
                fail(error, f"on item {number} of '{name}'" if name else f"in iteration {number}")
                return
            if result is not None:
                where = f"on item {number} of '{name}'" if name else f"in iteration {number}"
                self._write_result(result, where)

        return receive, lambda: number

    def _careful_receiver(self, name: str) -> tuple[Receive, Callable[[], int]]:
        """For PEs with a policy: what an attempt writes is held back until it has succeeded."""
        number = 0

        def receive(item: Any) -> None:
            nonlocal number
            number += 1
            where = f"on item {number} of '{name}'" if name else f"in iteration {number}"
            self._stay_halted(item)
            last = self._policy.retries
            for attempt in range(last + 1):
                own = item if attempt == last else snapshot(item)
                error = self._attempt({name: own} if name else own, where)
                if error is None:
                    return
            assert error is not None
            if not self._policy.skip or self._leave_out is None:
                self._fail(error, where + (f", tried {last + 1} times" if last else ""))
                return
            self._leave_out(self._description(error, name, number, item))

        return receive, lambda: number

    def _attempt(self, inputs: Any, where: str) -> BaseException | None:
        """Run ``process`` once; the error if it failed, and then nothing was written."""
        self._held = []
        if self._draws is not None:
            self._draws.again()
        try:
            with time_limit(self._policy.time_out):
                self._write_result(self.pe.process(inputs), where)
        except Halt as halt:
            self._halts.pop(self._rank, None)
            if isinstance(halt.error, OutputError):
                raise
            return halt.__cause__ or halt.error
        except BaseException as error:
            if is_an_order(error):
                raise
            self._stop_if_output_fails(error)
            return error
        else:
            held, self._held = self._held, None
            for emit, item in held:
                emit(item)
            return None
        finally:
            self._held = None

    def _holding(self, output: str, emit: Receive) -> Receive:
        """``emit``, but for what is written during an attempt, which is held back."""

        def hold(item: Any) -> None:
            if self._held is None:
                emit(item)
                return
            try:
                self._held.append((emit, snapshot(item)))
            except Exception as error:  # noqa: BLE001 - users' objects
                self.refuse_item(output, error)

        return hold

    def _description(
        self, error: BaseException, name: str, number: int, item: Any
    ) -> dict[str, Any]:
        """An item that is left out, as plain data for the error stream."""
        return {
            "pe": self.title,
            "input": name,
            "number": number,
            "item": brief(item, 1000),
            "error": "".join(traceback.format_exception_only(error)).strip(),
            "traceback": "".join(traceback.format_exception(error)),
        }

    def _write_result(self, result: Any, where: str) -> None:
        """Write what ``process`` returned: a dictionary of outputs, or a generator of them."""
        if result is None:
            return
        if isinstance(result, GeneratorType):
            self._drain(result, lambda part: self._write_result(part, where), where)
        elif isinstance(result, Mapping):
            for name, item in result.items():
                if type(item) is GeneratorType:
                    self._drain(item, partial(self._put, name, where=where), where)
                else:
                    self._put(name, item, where)
        else:
            self._fail(
                TypeError(
                    "process is to return a dictionary from output name to item, or None, "
                    f"not {type(result).__name__}"
                ),
                where,
            )

    def _put(self, name: str, item: Any, where: str) -> None:
        if name not in self._emitters:
            self._fail(PEError(unknown_port(self.pe, "output", name)), where)
        elif getattr(type(self.pe), "write", None) is GenericPE.write:
            self._emitters[name](item)
        else:
            self.pe.write(name, item)

    def _write(self, name: str, data: Any, **kwargs: Any) -> None:
        """``write`` of the PEs that do not override it."""
        emit = self._emitters.get(name)
        if emit is None:
            raise PEError(unknown_port(self.pe, "output", name))
        if type(data) is GeneratorType:
            for part in data:
                emit(part)
        else:
            emit(data)

    def _drain(self, generator: Any, send: Receive, where: str) -> None:
        """Send a generator's items one by one; it is the PE's code that runs in between."""
        while True:
            try:
                item = next(generator)
            except StopIteration:
                return
            except BaseException as error:
                if is_an_order(error):
                    raise
                self._fail(error, where)
                return
            if item is not None:
                send(item)

    def _call(self, method: Callable[[], Any], where: str) -> Any:
        try:
            return method()
        except BaseException as error:
            if is_an_order(error):
                raise
            self._fail(error, where)

    def _stay_halted(self, item: Any) -> None:
        """What works on items after a failure, where a PE upstream caught it and goes on."""
        if self._rank in self._halts:
            raise self._halts[self._rank]

    def refuse_item(self, output: str, error: Exception) -> None:
        """End the run over an item that cannot be handed on.

        :raises Halt: always
        """
        self._stop_if_output_fails(error)
        what = "".join(traceback.format_exception_only(error)).strip()
        if isinstance(error, D4pcwlError):
            what = str(error)
        raise self._halt(
            f"{self.title}.{output}: an item cannot be passed on: {what}", error
        ) from error

    def _fail(self, error: BaseException, where: str) -> None:
        """End the run.

        :raises Halt: always
        """
        self._stop_if_output_fails(error)
        if isinstance(error, SystemExit):
            what = f"it called exit({brief(error.code)})"
        elif isinstance(error, PEError):
            what = str(error)
        else:
            what = "".join(traceback.format_exception_only(error)).strip()
        raise self._halt(
            f"PE {self.title} failed {where}\n{user_fault(error, what)}", error
        ) from error

    def _stop_if_output_fails(self, error: BaseException) -> None:
        """What cannot be written is no fault of the PE, nor of the item."""
        if isinstance(error, OutputError):
            self.halted = Halt(error)
            raise self.halted from error

    def _halt(self, message: str, error: BaseException) -> Halt:
        halt = Halt(PEError(message, "".join(traceback.format_exception(error))))
        self._halts[self._rank] = halt
        return halt


def _drop(item: Any) -> None:
    """A PE without outputs has nowhere to write what it yields."""


def _expanding(emit: Receive) -> Receive:
    """``emit`` for items, and for generators of items."""

    def write(item: Any) -> None:
        if type(item) is GeneratorType:
            for part in item:
                emit(part)
        else:
            emit(item)

    return write


def _one_at_a_time() -> Callable[[Receive], Receive]:
    """For an instance in a cycle: items that come while it is at work wait until it is done."""
    waiting: deque[tuple[Receive, Any]] = deque()
    busy = False

    def guard(receive: Receive) -> Receive:
        def enter(item: Any) -> None:
            nonlocal busy
            waiting.append((receive, item))
            if busy:
                return
            busy = True
            try:
                while waiting:
                    work, next_item = waiting.popleft()
                    work(next_item)
            finally:
                busy = False

        return enter

    return guard


def own_copy(pe: Any) -> Any:
    """A copy of a PE for one more instance.

    :raises PEError: it holds something that cannot be copied, such as a lock or an open file
    """
    try:
        return copy.deepcopy(pe)
    except Exception as error:
        raise PEError(
            f"PE {pe.id} cannot be copied, so it cannot have several instances: {error}. "
            "Create what cannot be copied in _preprocess"
        ) from error


def local(
    receive: Receive, complain: Callable[[Exception], None], *, marked: bool = False
) -> Receive:
    """Send to an instance in the same process: it gets a value of its own.

    :param marked: items come with their marks, as pairs
    """
    if marked:

        def send_pair(pair: tuple[Any, Any]) -> None:
            if type(pair[1]) in IMMUTABLE:
                receive(pair)
                return
            try:
                own = snapshot(pair[1])
            except Exception as error:  # noqa: BLE001 - users' code
                complain(error)
                return
            receive((pair[0], own))

        return send_pair

    def send(item: Any) -> None:
        if type(item) in IMMUTABLE:
            receive(item)
            return
        try:
            own = snapshot(item)
        except Exception as error:  # noqa: BLE001 - users' code
            complain(error)
            return
        receive(own)

    return send


def or_complain(take: Receive, complain: Callable[[Exception], None]) -> Receive:
    """What sends to ``take``, and complains where that fails: not for the PE to catch."""

    def send(item: Any) -> None:
        try:
            take(item)
        except Exception as error:  # noqa: BLE001 - copying and encoding run users' code
            complain(error)

    return send
