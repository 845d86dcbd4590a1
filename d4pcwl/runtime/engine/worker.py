"""A worker: all instances of one process, connected along the plan's routes.

Edges inside the process are direct calls. Each item is worked through as far as possible before the
next one, so that no queue grows. Edges to other processes, and results, go to the mapping's
:class:`WorkerLink`.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from d4pcwl.errors import InputError, PEError
from d4pcwl.runtime.engine.chain import Receive, Step, Take
from d4pcwl.runtime.engine.floors import Floors
from d4pcwl.runtime.engine.instance import Halt, RunningPE, nothing, own_copy
from d4pcwl.runtime.engine.marks import (
    AFTER_ALL,
    NO_MORE,
    EntrancePosition,
    Gather,
    Level,
    LowestLevel,
    Position,
    ReceivedLevels,
    position_of,
    unmarked,
)
from d4pcwl.runtime.engine.plan import Plan, Route
from d4pcwl.runtime.engine.policy import ERRORS, FAIL
from d4pcwl.runtime.engine.routing import (
    InTurn,
    by_key,
    counting,
    fan_out,
    in_turn,
    local,
    or_complain,
)
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import ALL, GLOBAL, GroupBy, parse_grouping
from d4pcwl.workflow.inputs import RootInputs
from d4pcwl.workflow.pe import GROUPING

if TYPE_CHECKING:
    from d4pcwl.lineage.recorder import Recorder
    from d4pcwl.runtime.checkpoint.keeping import Keeping
    from d4pcwl.runtime.checkpoint.kept import Kept
    from d4pcwl.runtime.checkpoint.sources import Pauses


class WorkerLink(Protocol):
    """The mapping's part of a worker: sending to other processes."""

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        """The function that takes the items of an output for an input of an instance in another
        process (marked items, if that input has them)."""

    def result(self, pe: str, output: str) -> Receive:
        """The function that takes the results of an output (marked items, if it has them)."""

    def end(self, instance: int) -> None:
        """Tell the other processes that an instance has sent its last item."""

    def sent(self, source: tuple[str, str], target: int, input: str) -> Callable[[], int] | None:
        """What counts the items that an output has sent to an input by an outlet, if anything
        does."""


class Worker:
    """See the module.

    :param graph: what the plan was made for
    :param process: the number of this process in the plan
    :param inputs: the inputs of the roots; those of other processes are ignored
    :param own: whether the PEs of ``graph`` themselves may run, instead of copies
    :param direct: whether edges inside the process are direct calls; if not, the link has them too
    :param pauses: of the sources, if there are snapshots of the run
    """

    def __init__(
        self,
        graph: FlatGraph,
        plan: Plan,
        process: int,
        inputs: RootInputs,
        link: WorkerLink,
        *,
        own: bool = True,
        direct: bool = True,
        pauses: Pauses | None = None,
    ) -> None:
        self.plan, self.link, self._direct = plan, link, direct
        pes = {pe.id: pe for pe in graph.pes}
        here = frozenset(plan.processes[process])
        rounds = [
            (cycle, tuple(i.index for pe in cycle for i in plan.of(pe) if i.index in here))
            for cycle in plan.cycles
        ]
        self._cycle_of = {pe: indices for cycle, indices in rounds for pe in cycle}
        self._floors = Floors(plan, plan.processes[process] if direct else ())
        self._kept: dict[int, Kept] = {}
        if pauses is not None:
            pauses = replace(pauses, wait=partial(self._wait, pauses.wait))
            if pauses.kept:
                import pickle

                self._kept = pickle.loads(pauses.kept)
        self._halts: dict[int, Halt] = {}
        self._recorder: Recorder | None = None
        if plan.recording is not None:
            from d4pcwl.lineage.recorder import Recorder

            self._recorder = Recorder(plan.recording)
        self._ended: set[int] = set() if pauses is None else set(pauses.ended & here)
        self._turns: dict[int, list[InTurn]] = {}
        self.running: dict[int, RunningPE] = {}
        own_taken: set[str] = set()
        for index in plan.processes[process]:
            instance = plan.instances[index]
            pe = pes[instance.pe]
            if pe.id in own_taken:
                pe = own_copy(pe)
            elif not own:
                with contextlib.suppress(PEError):  # one that holds a lock or a file runs itself
                    pe = own_copy(pe)
            own_taken.add(instance.pe)
            siblings = len(plan.of(instance.pe))
            title = plan.name(index)
            if siblings > 1:
                title += f" (instance {instance.number + 1} of {siblings})"
            policy = plan.policies.get(instance.pe, FAIL)
            recorder = self._recorder
            keeping = None if pauses is None else self._keeping(index, pe, title, pauses, inputs)
            self.running[index] = RunningPE(
                pe,
                title,
                index,
                alone=siblings == 1 and index not in plan.pooled,
                in_cycle=instance.pe in self._cycle_of,
                policy=policy,
                leave_out=link.result(*ERRORS) if policy.skip else None,
                halts=self._halts,
                seed=plan.seed,
                recorder=None
                if recorder is None
                else partial(recorder.lineage, number=instance.number),
                keeping=keeping,
            )
        self._heard = ReceivedLevels()
        self._positions: dict[int, Position] = {}
        self._gathers: dict[tuple[int, str], Gather] = {}
        self._below: dict[int, list[Callable[[int], int]]] = {}
        self._steps: dict[Receive, Step | None] = {}
        self.written: dict[int, list[Callable[[], int]]] = {}
        if plan.order:
            self._keep_order()
        # Targets first, so that every emitter can bind the receivers that it calls.
        for index in reversed(list(self.running)):
            self._bind_outputs(index)
        for (index, input), gather in self._gathers.items():
            gather.deliver = self._floors.entrance(index, self._marked_receiver(index, input))
        self._open = {index: set(plan.upstream[index]) for index in self.running}
        for index in () if pauses is None else pauses.ended:
            self._close(index)
            self._heard.end(index)
        self._feeds = deque(
            (
                index,
                given,
                self._floors.entrance(index, self.running[index].feeding),
                self._positions.get(index),
            )
            for index, given in self._root_feeds(inputs)
            if index not in self._ended
        )
        if self._kept:
            self._feeds = deque(sorted(self._feeds, key=lambda feed: self._kept[feed[0]].place))
        self._fed = {feed[0] for feed in self._feeds}
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + self._floors.frames))

    # --- snapshots ------------------------------------------------------------------------------

    def _keeping(
        self, index: int, pe: Any, title: str, pauses: Pauses, inputs: RootInputs
    ) -> Keeping:
        """What keeps an instance."""
        from d4pcwl.runtime.checkpoint.keeping import Keeping

        own = self.plan.instances[index].pe
        is_free = not self.plan.upstream[index] and own not in self._cycle_of
        return Keeping(
            pe,
            title,
            pauses,
            self._kept.get(index),
            is_source=own in inputs,
            divides=is_free and self.plan.policies.get(own, FAIL) == FAIL,
        )

    def _wait(self, wait: Callable[[], None]) -> None:
        """Wait inside the work of a source."""
        with self._floors.aside():
            self.advance()
            wait()

    def keep(self) -> bytes:
        """What is kept of the instances here that have not ended. Nothing may be under way.

        :raises Halt: the state of a PE cannot be kept
        """
        from d4pcwl.runtime.checkpoint.kept import Kept
        from d4pcwl.streams.pickles import dumps

        next_fed = [feed[0] for feed in self._feeds]
        next_fed = [*self._fed.difference(next_fed), *next_fed]  # one may be at work
        places = {index: place for place, index in enumerate(next_fed)}
        found: dict[int, Kept] = {}
        for index in self.running.keys() - self._ended:
            running, position = self.running[index], self._positions.get(index)
            assert running.keeping is not None
            try:
                state, spot = running.keeping.keep()
            except PEError as error:
                raise Halt(error) from error
            found[index] = Kept(
                state,
                running.taken,
                0 if position is None else position.count,
                tuple(turn.passed for turn in self._turns.get(index, ())),
                {input: g.held for (at, input), g in self._gathers.items() if at == index},
                spot,
                places.get(index, 0),
            )
        return dumps(found)

    def _restore(self, index: int) -> None:
        """Go on where the instance was."""
        kept = self._kept[index]
        if index in self._positions:
            self._positions[index].count = kept.number
        for turn, passed in zip(self._turns.get(index, ()), kept.turns, strict=True):
            turn.passed = passed
        for input, held in kept.held.items():
            self._gathers[index, input].hold(held)

    # --- wiring ---------------------------------------------------------------------------------

    def _bind_outputs(self, index: int) -> None:
        running, instance = self.running[index], self.plan.instances[index]
        for output in running.pe.outputconnections:
            port = (instance.pe, output)
            plain: list[Receive] = []
            marked: list[Receive] = []
            for route in self.plan.routes.get(port, ()):
                takers = marked if self._has_marks(route.targets[0], route.input) else plain
                takers.append(self._taker(index, output, route))
            if port in self.plan.slots:
                refuse = partial(running.refuse_item, output)
                has_marks = port in self.plan.order.results
                takers = marked if has_marks else plain
                takers.append(or_complain(self.link.result(*port), refuse, marked=has_marks))
            emit = fan_out(plain)
            if marked:
                emit = self._positions[index].emitter(emit if plain else None, fan_out(marked))
            elif isinstance(self._positions.get(index), EntrancePosition):
                emit = unmarked(emit)
            if self.plan.measured:
                emit = self._counted(index, output, emit)
            drop = self._positions[index].drop if marked else nothing
            running.bind(output, emit, self._steps.get(emit), drop)

    def _taker(self, index: int, output: str, route: Route) -> Receive:
        """The function that takes the items of one edge from one instance (marked items, if it has
        them)."""
        number = self.plan.instances[index].number
        targets = [self._outlet(index, output, t, route.input) for t in route.of(number)]
        if len(targets) == 1:
            return targets[0]
        if route.grouping == ALL:
            return fan_out(targets)
        if isinstance(route.grouping, GroupBy):
            refuse = partial(self.running[index].refuse_item, output)
            where = f"{self.plan.name(route.targets[0])}.{route.input}"
            marked = self._has_marks(route.targets[0], route.input)
            traced = self._recorder is not None
            return by_key(targets, route.grouping, where, refuse, marked=marked, traced=traced)
        # Senders begin at different targets, so that short streams are spread too.
        first = number % len(targets)
        targets = [*targets[first:], *targets[:first]]
        if self.running[index].keeping is None:
            return in_turn(targets)
        turn = InTurn(targets)
        self._turns.setdefault(index, []).append(turn)
        return turn

    def _outlet(self, index: int, output: str, target: int, input: str) -> Receive:
        if target not in self.running or not self._direct:
            source = (self.plan.instances[index].pe, output)
            return self.link.outlet(source, target, input)
        marked = self._has_marks(target, input)
        in_cycle = self.plan.instances[target].pe in self._cycle_of
        if in_cycle:
            # Round a cycle somebody's outputs are not bound yet: look the receiver up when called.
            take: Take = lambda items: self._receiver(target, input)(items)  # noqa: E731
        else:
            take = self._receiver(target, input)
        way = self._floors.way(index, target, take)
        send = local(way, partial(self.running[index].refuse_item, output), marked=marked)
        if way is take and not (marked or in_cycle):
            self._steps[send] = self.running[target].step(input)
        return send

    def _receiver(self, instance: int, input: str) -> Take:
        """The function that takes the items of an input (marked items, if it has them)."""
        if (instance, input) in self._gathers:
            return self._gathers[instance, input].hold
        if self._has_marks(instance, input):
            return self._marked_receiver(instance, input)
        return self.running[instance].receiver(input)

    def _marked_receiver(self, index: int, input: str) -> Take:
        take, position = self.running[index].receiver(input), self._positions[index]
        return position.entering(take)

    # --- counting -------------------------------------------------------------------------------

    def _counted(self, index: int, output: str, emit: Receive) -> Receive:
        """``emit``, whose items :attr:`written` knows: by counters that are there, if there are
        such."""
        count = self._known_count(index, output)
        if count is None:
            emit, count = counting(emit)
        self.written.setdefault(index, []).append(count)
        return emit

    def _known_count(self, index: int, output: str) -> Callable[[], int] | None:
        """What counts the items that an instance writes to an output, by what takes them."""
        pe, number = self.plan.instances[index].pe, self.plan.instances[index].number
        for route in self.plan.routes.get((pe, output), ()):
            targets = route.targets[:1] if route.grouping == ALL else route.of(number)
            counts = [self._taken_from(index, output, t, route.input) for t in targets]
            if None not in counts:
                return partial(_sum_of, [count for count in counts if count is not None])
        return None

    def _taken_from(
        self, index: int, output: str, target: int, input: str
    ) -> Callable[[], int] | None:
        """What counts the items that come to an input from one output of one instance; None where
        others are among them."""
        pe, receiver = self.plan.instances[index].pe, self.plan.instances[target].pe
        copies = self.plan.of(pe)
        if target in self.running and self._direct:
            alone = self.plan.edges_to(receiver, input) == 1 and len(copies) == 1
            return partial(self.running[target].count_of, input) if alone else None
        if sum(copy.index in self.running for copy in copies) > 1:
            return None
        return self.link.sent((pe, output), target, input)

    # --- order ----------------------------------------------------------------------------------

    def _has_marks(self, target: int, input: str) -> bool:
        return (self.plan.instances[target].pe, input) in self.plan.order.marked

    def _keep_order(self) -> None:
        """Make the objects that give marks to items, and those that put items in order by them."""
        order = self.plan.order
        for index in self.running:
            self._positions[index] = position_of(self.plan, index)
        for index in self.running:
            pe = self.plan.instances[index].pe
            for input in self.running[index].pe.inputconnections:
                if (pe, input) in order.marked:
                    self._follow(index, input, self.plan.senders(index, input))

    def _follow(self, index: int, input: str, senders: Sequence[int]) -> None:
        """Follow the levels of the senders of an input, and hold back items that come too early."""
        pe = self.plan.instances[index].pe
        least = LowestLevel(self.plan, senders, partial(self.level, seen_by=(index, input)))
        level: Callable[[int], int] = least
        if (pe, input) in self.plan.order.sorted:
            mates = self.plan.order.loose.union(self._cycle_of.get(pe, ()))
            self._gathers[index, input] = gather = Gather(least, mates)
            level = gather.level
        self._below.setdefault(index, []).append(level)

    def level(self, index: int, origin: int, seen_by: tuple[int, str] | None = None) -> int:
        """The level of an instance for an origin: it has written everything below this number.

        :param seen_by: the instance and input that ask for the level of an instance in another
            process
        """
        if index not in self.running:
            return self._heard.level(index, origin, seen_by)
        if index in self._ended:
            return NO_MORE
        if self._floors.busy:
            return 0  # some of what was written is still to be worked through
        position = self._positions[index]
        if position.own is None:
            return position.count
        if position.own == origin:
            return position.count if index in self._fed else AFTER_ALL
        return min((level(origin) for level in self._below.get(index, ())), default=NO_MORE)

    def note(self, levels: Iterable[Level], receiver: tuple[int, str] | None = None) -> None:
        """Note the levels of instances in other processes, and work on the items that may be taken
        now.

        :param receiver: the instance and input that they are for; None: all
        """
        self._heard.note(levels, receiver)
        self.advance(receiver[0] if receiver is not None else 0)

    def advance(self, first: int = 0) -> None:
        """Work on the items that were held back, if no other item can come before them.

        :param first: the instance to begin with; an earlier one may be working
        """
        for (index, _), gather in self._gathers.items():
            if index >= first:
                gather.advance()

    # --- running --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let the record have what was done so far, if there is one."""
        if self._recorder is not None:
            self._recorder.settle()

    def close(self) -> None:
        """The worker is done, or has failed; the record gets the rest."""
        if self._recorder is not None:
            self._recorder.close()

    def start(self) -> None:
        """Run every instance's ``preprocess``, and end the instances that will get no items."""
        # Targets first: the receivers must be ready for items that a preprocess writes.
        for index, running in reversed(self.running.items()):
            if index not in self._ended:
                self._floors.call(index, running.start)
        for index in self._kept:
            self._restore(index)
        self._catch_up()
        self._end_if_done(self.running)

    def receiver(self, instance: int, input: str) -> Take:
        """The function that takes items from other processes (marked items, if the input has them).
        No other code may hold these objects."""
        take = self._receiver(instance, input)
        if (instance, input) in self._gathers:  # it sees to that itself, later
            return take
        return self._floors.entrance(instance, take)

    @property
    def hungry(self) -> bool:
        """Whether roots have inputs left."""
        return bool(self._feeds)

    def feed(self, roots: int | None = None) -> None:
        """Run one iteration of each root that has inputs left.

        :param roots: of so many only
        """
        for _ in range(len(self._feeds) if roots is None else roots):
            feed = self._feeds.popleft()
            index, inputs, process, position = feed
            place, given = next(inputs, (-1, None))
            if given is None:
                self._fed.discard(index)
                self._end_if_done([index])
                continue
            if position is not None:
                position.feed(place)
            process((given if self._recorder is None else (place, given),))
            self._feeds.append(feed)
        self.advance()

    def _catch_up(self) -> None:
        """Let roots do again what they had done before the work that they were at."""
        for _ in range(len(self._feeds)):
            for _ in range(self.running[self._feeds[0][0]].behind):
                self.feed(1)
                self._feeds.rotate()
            self._feeds.rotate(-1)

    def upstream_ended(self, instance: int) -> None:
        """Note that an instance of another process has sent its last item."""
        closed = self._close(instance)
        self._heard.end(instance)
        self.advance()
        self._end_if_done(closed)

    def _close(self, instance: int) -> list[int]:
        """The instances here to which the given instance has sent its last item."""
        told = [index for index in self.plan.downstream[instance] if index in self._open]
        for index in told:
            self._open[index].discard(instance)
        return told

    def check(self) -> None:
        """Whether a PE has failed.

        :raises Halt: a PE has failed, but a bare ``except:`` in a PE upstream caught the error
        """
        for halt in self._halts.values():
            raise halt

    def awaits(self, process: int) -> bool:
        """Whether an instance of another process has not ended yet."""
        instances = self.plan.instances
        return any(instances[i].process == process for open_ in self._open.values() for i in open_)

    @property
    def done(self) -> bool:
        """Whether every instance has ended."""
        return len(self._ended) == len(self.running)

    @property
    def ended(self) -> frozenset[int]:
        """The instances that have ended."""
        return frozenset(self._ended)

    @property
    def counts(self) -> dict[int, int]:
        """How many items each instance has taken."""
        return {index: sum(running.taken.values()) for index, running in self.running.items()}

    def _root_feeds(
        self, inputs: RootInputs
    ) -> Iterator[tuple[int, Iterator[tuple[int, dict[str, Any]]]]]:
        for index, running in self.running.items():
            instance = self.plan.instances[index]
            siblings = len(self.plan.of(instance.pe))
            given = inputs.get(instance.pe)
            first = running.first
            if isinstance(given, int):
                places = range(instance.number, given, siblings)
                yield index, ((n, {}) for n in places[first:])
            elif given is not None:
                share = list(_share(running.pe, given, siblings, instance.number))
                yield index, iter(share[first:])

    def _end_if_done(self, candidates: Iterable[int]) -> None:
        """End those ``candidates`` that no item can reach any more, then their receivers, and so
        on."""
        self.check()
        groups = deque(self._groups(candidates))
        while groups:
            group = groups.popleft()
            inner = set(group)
            if any(i in self._ended or i in self._fed or self._open[i] - inner for i in group):
                continue
            for index in group:
                self._finish(index)
            for index in group:
                self._ended.add(index)
                self.link.end(index)
                groups.extend(self._groups(self._close(index)))

    def _finish(self, index: int) -> None:
        """End one instance."""
        for input in self.running[index].pe.inputconnections:
            if (index, input) in self._gathers:
                self._gathers[index, input].advance()
        position = self._positions.get(index)
        if position is not None and position.own is not None:
            position.leave()
        self._floors.call(index, self.running[index].finish)

    def _groups(self, indices: Iterable[int]) -> Iterable[tuple[int, ...]]:
        """The instances that end together: all of a cycle, or a single one."""
        instances = self.plan.instances
        groups = (self._cycle_of.get(instances[index].pe, (index,)) for index in indices)
        return {group[0]: group for group in groups}.values()


def _sum_of(counts: Iterable[Callable[[], int]]) -> int:
    return sum(count() for count in counts)


def _share(
    pe: Any, given: Iterable[dict[str, Any]], count: int, number: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The root inputs of a PE that its groupings send to instance ``number`` of ``count``, each
    with its place among all inputs."""
    for place, inputs in enumerate(given):
        target: int | None = place % count
        for name, item in inputs.items():
            declared = pe.inputconnections.get(name, {}).get(GROUPING)
            grouping = parse_grouping(declared, f"{pe.id}.{name}")
            if grouping == GLOBAL:
                target = 0
            elif grouping == ALL:
                target = None
            elif isinstance(grouping, GroupBy):
                try:
                    target = grouping.owner(count)(item)
                except (LookupError, TypeError) as error:
                    raise InputError(
                        f"inputs of {pe.name}: '{name}' is grouped by {grouping}, which {item!r} "
                        f"does not have: {error}"
                    ) from None
        if target is None or target == number:
            yield place, dict(inputs)
