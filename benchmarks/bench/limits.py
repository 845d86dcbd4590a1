"""The machine's limits: what Python, pipes, shared memory, a Redis server and MPI can do at best.

`python limits.py NAME [SECONDS]` measures one and prints its rate; run under `mpiexec` for `mpi …`.
Nothing of either package is used.
"""

import mmap
import os
import pickle
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

BATCH = 1000
REDIS_BATCH = 500
FLOATS = 125_000
MB = FLOATS * 8 / 1e6


def calls(scale: float) -> float:
    """Items/s through a chain of plain calls: a loop, two that pass on, and one that adds up."""
    items = int(2_000_000 * scale)
    count = total = 0

    def last(number: int) -> None:
        nonlocal count, total
        count += 1
        total += number

    def second(number: int) -> None:
        last(number)

    def first(number: int) -> None:
        second(number)

    began = time.perf_counter()
    for number in range(items):
        first(number)
    seconds = time.perf_counter() - began
    assert (count, total) == (items, items * (items - 1) // 2)
    return items / seconds


def _read(fd: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(fd, size)
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _forked(*stages: Callable[[], None]) -> None:
    """Run the stages in processes of their own, but the last in this one."""
    children = []
    for stage in stages[:-1]:
        child = os.fork()
        if not child:
            try:
                stage()
            finally:
                os._exit(0)
        children.append(child)
    stages[-1]()
    for child in children:
        os.waitpid(child, 0)


def pipes(scale: float) -> float:
    """Items/s through 4 processes and pipes, pickled in batches of 1,000, unpacked at each."""
    items = int(8_000_000 * scale) // BATCH * BATCH
    ways = [os.pipe() for _ in range(3)]
    began = time.perf_counter()
    size = struct.Struct("=I")

    def send(way: int, batch: list[int]) -> None:
        data = pickle.dumps(batch, protocol=5)
        _write(ways[way][1], size.pack(len(data)) + data)

    def receive(way: int) -> list[int]:
        head = _read(ways[way][0], size.size)
        return pickle.loads(_read(ways[way][0], size.unpack(head)[0]))

    def source() -> None:
        for start in range(0, items, BATCH):
            send(0, list(range(start, start + BATCH)))

    def passing(way: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(items // BATCH):
                send(way + 1, receive(way))

        return work

    def last() -> None:
        total = sum(sum(receive(2)) for _ in range(items // BATCH))
        assert total == items * (items - 1) // 2

    _forked(source, passing(0), passing(1), last)
    return items / (time.perf_counter() - began)


def shared(scale: float) -> float:
    """MB/s through 3 processes: arrays of 1 MB, made in the first, one copy at each hand-over."""
    import numpy as np

    items, slots = int(3000 * scale), 8
    rings = [mmap.mmap(-1, slots * FLOATS * 8) for _ in range(2)]
    arrays = [np.frombuffer(ring).reshape(slots, FLOATS) for ring in rings]
    full, free = [os.pipe() for _ in range(2)], [os.pipe() for _ in range(2)]
    for _, end in free:
        os.write(end, b"." * slots)

    def put(ring: int, number: int, array: "np.ndarray") -> None:
        os.read(free[ring][0], 1)
        arrays[ring][number % slots] = array
        os.write(full[ring][1], b".")

    def source() -> None:
        for number in range(items):
            put(0, number, np.full(FLOATS, float(number)))

    def between() -> None:
        for number in range(items):
            os.read(full[0][0], 1)
            put(1, number, arrays[0][number % slots])
            os.write(free[0][1], b".")

    def last() -> None:
        for number in range(items):
            os.read(full[1][0], 1)
            array = arrays[1][number % slots]
            assert array[0] == array[-1] == number
            os.write(free[1][1], b".")

    began = time.perf_counter()
    _forked(source, between, last)
    return items * MB / (time.perf_counter() - began)


def memcpy(scale: float) -> float:
    """MB/s of copying 64 MB from memory to memory."""
    import numpy as np

    source, target = np.ones(8_000_000), np.zeros(8_000_000)
    times = max(3, int(40 * scale))
    target[:] = source
    began = time.perf_counter()
    for _ in range(times):
        target[:] = source
    return times * 64 / (time.perf_counter() - began)


def redis(scale: float) -> float:
    """Items/s through one stream, from process to process, pickled in batches of 500, pipelined."""
    import redis as client

    port = int(os.environ["BENCH_REDIS_PORT"])
    items = int(4_000_000 * scale) // REDIS_BATCH * REDIS_BATCH
    key = f"limit-{os.getpid()}"

    def source() -> None:
        server = client.Redis(port=port)
        for start in range(0, items, REDIS_BATCH * 20):
            pipeline = server.pipeline(transaction=False)
            for begin in range(start, min(start + REDIS_BATCH * 20, items), REDIS_BATCH):
                data = pickle.dumps(list(range(begin, begin + REDIS_BATCH)), protocol=5)
                pipeline.xadd(key, {b"0": data})
            pipeline.execute()

    def last() -> None:
        server = client.Redis(port=port)
        after: bytes | str = "0"
        total = messages = 0
        while messages < items // REDIS_BATCH:
            for _, entries in server.xread({key: after}, count=20, block=1000):
                for after, fields in entries:  # noqa: B007 - the last id is where to go on
                    total += sum(pickle.loads(fields[b"0"]))
                    messages += 1
        assert total == items * (items - 1) // 2
        server.delete(key)

    began = time.perf_counter()
    _forked(source, last)
    return items / (time.perf_counter() - began)


def redis_arrays(scale: float) -> float:
    """MB/s through two streams, by way of a process between: arrays of 1 MB, one a message."""
    import numpy as np
    import redis as client

    port = int(os.environ["BENCH_REDIS_PORT"])
    items = max(20, int(200 * scale))
    keys = [f"limit-{os.getpid()}-{hop}" for hop in range(2)]

    def incoming(server: Any, key: str) -> Iterator[memoryview]:
        after: bytes | str = "0"
        seen = 0
        while seen < items:
            for _, entries in server.xread({key: after}, count=8, block=1000):
                for after, fields in entries:  # noqa: B007 - the last id is where to go on
                    yield memoryview(fields[b"0"])
                    seen += 1
                server.xdel(key, *(entry for entry, _ in entries))

    def source() -> None:
        server = client.Redis(port=port)
        for number in range(items):
            server.xadd(keys[0], {b"0": np.full(FLOATS, float(number)).data.cast("B")})

    def between() -> None:
        server = client.Redis(port=port)
        for data in incoming(client.Redis(port=port), keys[0]):
            server.xadd(keys[1], {b"0": data})

    def last() -> None:
        server = client.Redis(port=port)
        total = sum(float(np.frombuffer(data)[-1]) for data in incoming(server, keys[1]))
        assert total == items * (items - 1) / 2
        server.delete(*keys)

    began = time.perf_counter()
    _forked(source, between, last)
    return items * MB / (time.perf_counter() - began)


def mpi(scale: float) -> float:
    """Items/s along the ranks, pickled in batches of 1,000, unpacked at each."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    rank, ranks = world.Get_rank(), world.Get_size()
    items = int(4_000_000 * scale) // BATCH * BATCH
    world.Barrier()
    began = time.perf_counter()
    total = 0
    for start in range(0, items, BATCH):
        batch = list(range(start, start + BATCH)) if rank == 0 else world.recv(source=rank - 1)
        if rank < ranks - 1:
            world.send(batch, rank + 1)
        else:
            total += sum(batch)
    if rank == ranks - 1:
        assert total == items * (items - 1) // 2
    world.Barrier()
    return items / (time.perf_counter() - began) if rank == 0 else 0.0


def mpi_arrays(scale: float) -> float:
    """MB/s along the ranks: arrays of 1 MB, made at the first, sent as buffers."""
    import numpy as np
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    rank, ranks = world.Get_rank(), world.Get_size()
    items = int(2000 * scale)
    array = np.empty(FLOATS)
    world.Barrier()
    began = time.perf_counter()
    for number in range(items):
        if rank == 0:
            array = np.full(FLOATS, float(number))
        else:
            world.Recv(array, source=rank - 1)
        if rank < ranks - 1:
            world.Send(array, rank + 1)
    assert array[-1] == items - 1
    world.Barrier()
    return items * MB / (time.perf_counter() - began) if rank == 0 else 0.0


def main(arguments: list[str]) -> None:
    measures = (calls, pipes, shared, memcpy, redis, redis_arrays, mpi, mpi_arrays)
    measure = {function.__name__: function for function in measures}[arguments[0]]
    rate = measure(float(arguments[1]) if arguments[1:] else 1.0)
    if rate:
        sys.stdout.write(f"{rate!r}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
