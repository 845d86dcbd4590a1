"""Measure the work of a process, if anybody needs it; if not, nothing of this is imported. In the
end, the workers close their records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d4pcwl.runtime.engine.worker import Worker
    from d4pcwl.trace.observer import Lap, Sent


@contextlib.contextmanager
def measured(
    workers: Sequence[Worker],
    tell: Callable[[Lap], None],
    *,
    sent: Sent = dict,
    waits: Iterable[Callable[..., Any]] = (),
    sends: Iterable[Callable[..., Any]] = (),
) -> Iterator[None]:
    """Measure what workers do in the block, if their plan says so. After it, they are closed.

    :param workers: those of this thread
    :param tell: takes the laps, in another thread, and the last one in this; if it raises, it gets
        no more of them: the same fault ends the work itself
    :param waits: the functions in which a worker waits for something to do
    :param sends: those in which it waits until others take what it wrote
    """
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.close)
        if any(worker.plan.measured for worker in workers):
            from d4pcwl.runtime.local.meter import Meter

            meter = Meter(workers, tell, sent, waits, sends)
            meter.start()
            stack.callback(meter.stop)
        yield
