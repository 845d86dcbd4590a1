"""One instance of a PE: takes items, runs the PE, and sends what it writes, for all mappings.

Items are taken by closures, and not by methods, because this code runs for every item and decides
the speed of a stream. There is one variant for base classes whose ``process`` is known
(``chain.py``).
"""

from __future__ import annotations

import copy
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NoReturn

from d4pcwl.errors import ITEM_LETTERS, D4pcwlError, OutputError, PEError, brief
from d4pcwl.runtime.engine.attempts import Attempts, left_out
from d4pcwl.runtime.engine.chain import Receive as Receive
from d4pcwl.runtime.engine.chain import Step, Take, lane_writer, outlet_of
from d4pcwl.runtime.engine.drawing import Draws
from d4pcwl.runtime.engine.mistakes import argument, hint_for, wrong_return
from d4pcwl.runtime.engine.order import EntrancePE, inside_marks
from d4pcwl.runtime.engine.policy import FAIL, Policy
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
from d4pcwl.workflow.place import place_of_work

if TYPE_CHECKING:
    from d4pcwl.lineage.recorder import Lineage
    from d4pcwl.runtime.checkpoint.keeping import Keeping

INPUT = IterativePE.INPUT_NAME

Where = Callable[[], str]
"""For messages: says which item an instance works on."""

_NOTHING = object()


def nothing() -> None:
    """Nothing is to be done."""


class Halt(BaseException):
    """Ends the run from inside a PE's call. It is not an Exception, so that no PE catches it."""

    def __init__(self, error: D4pcwlError) -> None:
        super().__init__(str(error))
        self.error = error


class _Port:
    """The value of ``outputconnections[name]['writer']`` while a PE runs."""

    __slots__ = ("write",)

    def __init__(self, write: Receive) -> None:
        self.write = write


class RunningPE:
    """One instance of a PE, with the routes of its items.

    :param pe: the instance's own copy of the PE
    :param title: the name of the instance in messages
    :param rank: the instance's index in the plan
    :param alone: the instance takes all items of the PE, so it knows their numbers in the stream
    :param in_cycle: the PE may get items while it works on one
    :param policy: what happens when it fails on an item
    :param leave_out: takes the descriptions of items that are left out
    :param seed: of the random numbers that the PE draws
    :param halts: the failures, by rank, of all instances in the process
    :param recorder: makes the lineage of its items, if that is recorded; items then come and go as
        pairs of a trace and an item
    :param keeping: what is kept of it in snapshots, if there are any
    :ivar own_step: how its items go through in a chain, if they may
    :ivar first: how many inputs of a root are not given to it again
    :ivar behind: how many it is given again although it was done with them
    """

    def __init__(
        self,
        pe: Any,
        title: str,
        rank: int,
        *,
        alone: bool = True,
        in_cycle: bool,
        policy: Policy = FAIL,
        leave_out: Receive | None = None,
        halts: dict[int, Halt] | None = None,
        seed: int = 0,
        recorder: Callable[[Any], Lineage] | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self.pe = pe
        self.keeping = keeping
        source = None if keeping is None else keeping.source
        self._source = source if source is not None and source.divides else None
        self._uncounted: dict[str, Receive] = {}
        self._drops: dict[str, Callable[[], None]] = {}
        self.first, self.behind = (0, 0) if source is None else (source.first, source.behind)
        self.title, self._alone = title, alone
        self._policy = policy
        self._leave_out = leave_out
        self.attempts = Attempts(policy)
        self.rank, self._halts = rank, {} if halts is None else halts
        self._emitters: dict[str, Receive] = {}
        self._counts: dict[str, Callable[[], int]] = {}
        self._receivers: dict[str, Take] = {}
        self._following: dict[str, Step] = {}
        self.own_step: Step | None = None
        self._guard = _one_at_a_time() if in_cycle else None
        pe.rank = rank
        self._draws = Draws(pe, seed, self.first) if getattr(pe, "numbered", False) else None
        if not hasattr(pe, "log"):  # one of upstream's classes
            pe.log = lambda message: log_line(pe, message)
        cls = type(pe)
        self._usual_write = (
            getattr(cls, "write", None) is GenericPE.write and cls._write is GenericPE._write
        )
        if self._usual_write:
            pe.write = self._write  # one call instead of three for every written item
        self._lineage = None if recorder is None else recorder(pe)

    def bind(
        self,
        output: str,
        emit: Receive,
        following: Step | None = None,
        drop: Callable[[], None] = nothing,
    ) -> None:
        """Set the function that takes the items of an output. Call it before the first receiver is
        made.

        :param following: the only step that takes them, in this process
        :param drop: called for an item that is not written a second time
        """
        if self.keeping is not None:
            plain, emit = emit, self.keeping.unless_silent(emit)
            following = following if emit is plain else None
        write = self._write
        if self._source is not None:
            self._uncounted[output], self._drops[output] = emit, drop
            write = self._write_uncounted
        if self._policy != FAIL:
            emit = self.attempts.holding(emit, partial(self.refuse_item, output))
        if self._lineage is not None:
            traced = partial(
                self._lineage.writing, output, refuse=partial(self.refuse_item, output)
            )
            emit = inside_marks(traced, emit) if isinstance(self.pe, EntrancePE) else traced(emit)
        elif following is not None and self._policy == FAIL:
            self._following[output] = following
            write = following.writer(output, write)
        elif (outlet := outlet_of(emit)) is not None:
            write = lane_writer(output, outlet, write)
        if self._source is not None:
            self._following.clear()  # what it returns is counted, too
            emit = self._source.counted(emit, drop)
            write = self._source.writing(write, self._drops)
        if self._usual_write and write != self._write:
            self.pe.write = write
        self._emitters[output] = emit
        if self._source is not None:
            emit = self._source.pausing(emit)
        self.pe.outputconnections[output][WRITER] = _Port(_expanding(emit))

    def let_hand_on(self, hand_on: Callable[[], None]) -> None:
        """Let the PE send what it has written before its item is done. With a policy this is not
        possible: what an attempt writes is held back until it has succeeded.
        """
        if self._policy == FAIL:
            self.pe.hand_on = hand_on

    @property
    def count(self) -> int:
        """How many items the instance has taken."""
        return sum(count() for count in list(self._counts.values()))

    def count_of(self, name: str) -> int:
        """How many of them by one input."""
        return self._counts[name]() if name in self._counts else 0

    def _before(self, name: str) -> int:
        """How many items it had taken by an input before the run was resumed."""
        return 0 if self.keeping is None else self.keeping.taken.get(name, 0)

    @property
    def taken(self) -> dict[str, int]:
        """By input, how many items it has taken, also before the run was resumed."""
        return {name: count() + self._before(name) for name, count in self._counts.items()}

    def start(self) -> None:
        """Run ``preprocess``."""
        with self._without_item("preprocess"):
            if self.keeping is not None:
                self.keeping.prepare(self._preprocess)
            else:
                self._preprocess()

    def _preprocess(self) -> None:
        self._call(self.pe.preprocess, lambda: "in preprocess")

    def finish(self) -> None:
        """Run ``postprocess``, and write what it returns."""
        where: Where = lambda: "in postprocess"  # noqa: E731
        with self._without_item("postprocess"):
            self._write_result(self._call(self.pe.postprocess, where), where)

    def _without_item(self, what: str) -> AbstractContextManager[None]:
        """Work without an item."""
        if self._draws is not None:
            self._draws.begin(what)
        return nullcontext() if self._lineage is None else self._lineage.alone(what)

    @property
    def feeding(self) -> Take:
        """The function that takes the inputs of a root, as :meth:`process` does."""
        source = None if self.keeping is None else self.keeping.source
        return self.process if source is None else source.invocation(self.process)

    def process(self, given: Iterable[Any]) -> None:
        """Run ``process`` on each dictionary of inputs, as roots get them. If lineage is recorded,
        they are pairs of their place and such a dictionary."""
        for inputs in given:
            trace = None
            if self._lineage is not None:
                place, inputs = inputs
                trace = self._lineage.given(place, inputs)
            name, item = "", inputs
            if len(inputs) == 1:
                ((only, value),) = inputs.items()
                if only in self.pe.inputconnections:
                    name, item = only, value
            take = self.receiver(name)
            if self._draws is not None:
                item = (self._draws.next_given(), item)
            take((item if trace is None else (trace, item),))

    def receiver(self, name: str) -> Take:
        """The function that takes the items of input ``name``; ``""`` takes whole input
        dictionaries. If the PE draws random numbers, they are pairs of a number and an item."""
        if name not in self._receivers:
            take, self._counts[name] = self._make_receiver(name)
            if self._draws is not None:
                take = self._draws.of_numbered(take)
            if self._lineage is not None:
                take = self._lineage.reading(name, take)
            self._receivers[name] = self._guard(take) if self._guard else take
        return self._receivers[name]

    def step(self, name: str) -> Step | None:
        """The step of a chain for the items of input ``name``, if there is one."""
        self.receiver(name)
        return self.own_step if name == INPUT and self._draws is None else None

    def _make_receiver(self, name: str) -> tuple[Take, Callable[[], int]]:
        if self._policy != FAIL:
            return self._careful_receiver(name)
        if name == INPUT and self._is_simple() and self._lineage is None:
            self.own_step = step = self._make_step()
            return step.take, lambda: step.count
        return self._general_receiver(name)

    def _is_simple(self) -> bool:
        """Whether ``process`` only calls ``_process`` with the item of the one input."""
        pe, process = self.pe, type(self.pe).process
        if process is IterativePE.process:
            return pe.INPUT_NAME == INPUT and pe.OUTPUT_NAME in self._emitters
        return process is ConsumerPE.process and pe.INPUT_NAME == INPUT

    def _make_step(self) -> Step:
        emit, following = None, None
        if not isinstance(self.pe, ConsumerPE):  # which returns nothing, except for generators
            output = self.pe.OUTPUT_NAME
            emit, following = self._emitters[output], self._following.get(output)
            if type(self.pe).write is not GenericPE.write:  # it sees all that it writes
                emit, following = partial(self.pe.write, output), None
        send = emit or _drop

        def hand_on(result: Any) -> None:
            if type(result) is GeneratorType:  # a _process that writes by `yield` alone works
                self._drain(result, send, where)
            elif result is not None:
                send(result)

        def where() -> str:
            return self._at(INPUT, step.count + 1)

        def fail(error: BaseException, item: Any) -> None:
            self._fail(error, where, item)

        step = Step(
            self._direct_work(),
            emit,
            following,
            hand_on=hand_on,
            fail=fail,
            stay_halted=self._stay_halted,
        )
        return step

    def _direct_work(self) -> Callable[[Any], Any]:
        pe = self.pe
        if type(pe)._process is SimpleFunctionPE._process and callable(pe.compute_fn):
            return partial(pe.compute_fn, **pe.params) if pe.params else pe.compute_fn
        return pe._process  # type: ignore[no-any-return]

    def _general_receiver(self, name: str) -> tuple[Take, Callable[[], int]]:
        work, number = self.pe.process, 0

        def take(items: Iterable[Any]) -> None:
            nonlocal number, work
            for item in items:
                number += 1
                try:
                    result = work({name: item} if name else item)
                except BaseException as error:
                    if is_an_order(error):
                        raise
                    work = self._stay_halted
                    self._fail(error, where, item)
                if result is not None:
                    self._write_result(result, where, item)

        def where() -> str:
            return self._at(name, number)

        return take, lambda: number

    def _careful_receiver(self, name: str) -> tuple[Take, Callable[[], int]]:
        """For PEs with a policy: what an attempt writes is held back until the attempt has
        succeeded."""
        number, policy = 0, self._policy

        def attempt(item: Any) -> BaseException | None:
            if self._draws is not None:
                self._draws.again()
            if self._lineage is not None:
                self._lineage.again()
            try:
                result = self.pe.process({name: item} if name else item)
                self._write_result(result, where, item)
            except OutputError as error:
                self._stop_if_output_fails(error)
            except Halt as halt:
                self._halts.pop(self.rank, None)
                if isinstance(halt.error, OutputError):
                    raise
                return halt.__cause__ or halt.error
            return None

        def take(items: Iterable[Any]) -> None:
            nonlocal number
            for item in items:
                number += 1
                self._stay_halted(item)
                error = self.attempts.run(attempt, item)
                if error is None:
                    continue
                if self._lineage is not None:
                    self._lineage.again()
                if policy.skip and self._leave_out is not None:
                    self.attempts.skipped += 1
                    known = number + self._before(name) if self._alone else None
                    self._leave_out(left_out(self.title, name, known, item, error))
                else:
                    self._fail(error, where_in_all, item)

        def where() -> str:
            return self._at(name, number)

        def where_in_all() -> str:
            return where() + (f", tried {policy.retries + 1} times" if policy.retries else "")

        return take, lambda: number

    def _at(self, name: str, number: int) -> str:
        """The item that the instance works on, with its number in the stream if that is known."""
        number += self._before(name)
        if not name:
            return f"in iteration {number}" if self._alone else "in an iteration"
        return f"on item {number} of '{name}'" if self._alone else f"on an item of '{name}'"

    def _write_result(self, result: Any, where: Where, given: Any = _NOTHING) -> None:
        """Write what ``process`` returned: a dictionary of outputs, or a generator of them."""
        if type(result) is not dict:
            if result is None:
                return
            if isinstance(result, GeneratorType):
                hand_on = partial(self._write_result, where=where, given=given)
                self._drain(result, hand_on, where, given)
                return
            if not isinstance(result, Mapping):
                self._fail(PEError(wrong_return(self.pe, result)), where, given)
        for name, item in result.items():
            if type(item) is GeneratorType:
                hand_on = partial(self._put, name, where=where, given=given)
                self._drain(item, hand_on, where, given)
            else:
                self._put(name, item, where, given)

    def _put(self, name: str, item: Any, where: Where, given: Any) -> None:
        emit = self._emitters.get(name)
        if emit is None:
            self._fail(PEError(unknown_port(self.pe, "output", name)), where, given)
        elif getattr(type(self.pe), "write", None) is GenericPE.write:
            emit(item)
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

    def _write_uncounted(self, name: str, data: Any, **kwargs: Any) -> None:
        """The same for one item, which its source has counted."""
        emit = self._uncounted.get(name)
        if emit is None:
            raise PEError(unknown_port(self.pe, "output", name))
        emit(data)

    def _drain(self, generator: Any, send: Receive, where: Where, given: Any = _NOTHING) -> None:
        """Send a generator's items one by one; the PE's code runs between them."""
        frame = generator.gi_frame
        send = send if self._source is None else self._source.pausing(send)
        while True:
            try:
                item = next(generator)
            except StopIteration:
                return
            except BaseException as error:
                if is_an_order(error):
                    raise
                self._fail(error, where, argument(frame) if given is _NOTHING else given)
            if item is not None:
                send(item)

    def _call(self, method: Callable[[], Any], where: Where) -> Any:
        try:
            return method()
        except BaseException as error:
            if is_an_order(error):
                raise
            self._fail(error, where)

    def _stay_halted(self, item: Any) -> None:
        """The function for further items after a failure, if a PE upstream catches the error and
        goes on."""
        if self.rank in self._halts:
            raise self._halts[self.rank]

    def refuse_item(self, output: str, error: Exception, item: Any) -> None:
        """End the run because an item cannot be sent.

        :raises Halt: always
        """
        self._stop_if_output_fails(error)
        if self._lineage is not None:
            item = item[1]
        what = "".join(traceback.format_exception_only(error)).strip()
        if isinstance(error, D4pcwlError):
            what = str(error)
        message = f"{self.title}.{output}: an item cannot be passed on: {what}"
        message = f"{_placed(self.pe, message)}\nitem: {brief(item, ITEM_LETTERS)}"
        raise self._halt(message, error) from error

    def _fail(self, error: BaseException, where: Where, given: Any = _NOTHING) -> NoReturn:
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
        fault = user_fault(error, what + hint_for(self.pe, error))
        told = fault if fault.file is not None else _placed(self.pe, fault.message)
        item = "" if given is _NOTHING or given == {} else f": {brief(given, ITEM_LETTERS)}"
        raise self._halt(f"PE {self.title} failed {where()}{item}\n{told}", error) from error

    def _stop_if_output_fails(self, error: BaseException) -> None:
        """An output that cannot be written is not a fault of the PE or of the item."""
        if isinstance(error, OutputError):
            halt = self._halts[self.rank] = Halt(error)
            raise halt from error

    def _halt(self, message: str, error: BaseException) -> Halt:
        halt = Halt(PEError(message, "".join(traceback.format_exception(error))))
        self._halts[self.rank] = halt
        return halt


def _placed(pe: Any, message: str) -> str:
    """A message, with the place of the PE's code if that is known."""
    place = place_of_work(pe)
    return str(place.fault(message)) if place is not None else message


def _drop(item: Any) -> None:
    """A PE without outputs cannot write what it yields."""


def _expanding(emit: Receive) -> Receive:
    """``emit`` for items, and for generators of items."""

    def write(item: Any) -> None:
        if type(item) is GeneratorType:
            for part in item:
                emit(part)
        else:
            emit(item)

    return write


def _one_at_a_time() -> Callable[[Take], Take]:
    """For an instance in a cycle: items that come while it works wait until it is done."""
    waiting: deque[tuple[Take, Any]] = deque()
    busy = False

    def guard(take: Take) -> Take:
        def enter(items: Iterable[Any]) -> None:
            nonlocal busy
            for item in items:
                waiting.append((take, item))
                if busy:
                    continue
                busy = True
                try:
                    while waiting:
                        work, next_item = waiting.popleft()
                        work((next_item,))
                finally:
                    busy = False

        return enter

    return guard


def own_copy(pe: Any) -> Any:
    """A copy of a PE for another instance.

    :raises PEError: it holds something that cannot be copied, such as a lock or an open file
    """
    try:
        return copy.deepcopy(pe)
    except Exception as error:
        raise PEError(
            f"PE {pe.name} cannot be copied, so it cannot have several instances: {error}. "
            "Create what cannot be copied in _preprocess"
        ) from error
