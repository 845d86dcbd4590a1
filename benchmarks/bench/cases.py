"""What is measured, with how many items, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass, field

STATIC = ("simple", "multi", "mpi")
DYNAMIC = ("dyn_multi", "dyn_auto_multi")
REDIS = ("redis", "dyn_redis", "hybrid_redis", "dyn_auto_redis")
MAPPINGS = (*STATIC, *DYNAMIC, *REDIS)
PROCESSES = 4


@dataclass(frozen=True)
class Target:
    """What a row is to reach.

    :param kind: ``ratio`` to upstream, ``rate`` of ours, ``share`` of the machine's limit, or
        ``growth`` against the row of the shorter stream, which is to stay below
    """

    kind: str
    value: float


@dataclass(frozen=True)
class Case:
    """One thing to measure under several mappings.

    :param items: by mapping, how many for ours and for upstream, chosen so that each takes a few
        seconds: rates are compared, so the numbers need not be equal
    :param limits: by mapping, the machine's limit to hold against ours
    :param amount: of the unit in each item
    """

    name: str
    script: str
    unit: str
    items: dict[str, tuple[int, int]]
    targets: dict[str, tuple[Target, ...]] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    amount: float = 1.0
    repeated: bool = True

    @property
    def lower_is_better(self) -> bool:
        return self.unit in ("s", "MB")


def _ratios(**values: float) -> dict[str, tuple[Target, ...]]:
    return {mapping: (Target("ratio", value),) for mapping, value in values.items()}


_KINDS = (*DYNAMIC, *REDIS)
_ARRAYS = {mapping: (Target("rate", 2000),) for mapping in DYNAMIC} | {
    mapping: (Target("rate", 1000),) for mapping in REDIS
}

CASES = (
    Case(
        "ints, 4 PEs",
        "ints",
        "items/s",
        {
            "simple": (2_000_000, 300_000),
            "multi": (3_000_000, 100_000),
            "mpi": (2_000_000, 60_000),
            "dyn_multi": (1_000_000, 10_000),
            "redis": (500_000, 5_000),
            "dyn_redis": (500_000, 4_000),
            "hybrid_redis": (500_000, 5_000),
            "dyn_auto_multi": (1_000_000, 500),
            "dyn_auto_redis": (500_000, 500),
        },
        _ratios(mpi=15, dyn_multi=30, redis=30, dyn_redis=30, hybrid_redis=30)
        | _ratios(dyn_auto_multi=300, dyn_auto_redis=300)
        | {
            "simple": (Target("ratio", 4), Target("share", 0.87)),
            "multi": (Target("ratio", 15), Target("rate", 3_000_000)),
        },
        {"simple": "bytewax, batch 500", "mpi": "mpi"}
        | dict.fromkeys(("multi", *DYNAMIC), "pipes")
        | dict.fromkeys(REDIS, "redis"),
    ),
    Case(
        "1 MB arrays, 3 PEs",
        "arrays",
        "MB/s",
        {"simple": (2000, 1000), "multi": (3000, 500), "mpi": (1500, 400)}
        | dict.fromkeys(DYNAMIC, (800, 200))
        | dict.fromkeys(REDIS, (300, 20)),
        {
            "simple": (Target("share", 0.4),),
            "multi": (Target("ratio", 6), Target("share", 0.4)),
            "mpi": (Target("ratio", 6),),
        }
        | _ARRAYS,
        {"simple": "memcpy", "multi": "shared", "mpi": "mpi_arrays"}
        | dict.fromkeys(DYNAMIC, "shared")
        | dict.fromkeys(REDIS, "redis_arrays"),
        amount=1.0,
    ),
    Case(
        "word count, 1 M words",
        "words",
        "words/s",
        dict.fromkeys(STATIC, (1_000_000, 1_000_000)),
        _ratios(simple=3, multi=8),
    ),
    Case(
        "start-up, one item",
        "ints",
        "s",
        dict.fromkeys(MAPPINGS, (1, 1)),
        _ratios(simple=2.8) | {mapping: (Target("ratio", 5),) for mapping in _KINDS},
    ),
    Case(
        "peak memory, 100 k ints",
        "ints",
        "MB",
        dict.fromkeys(("simple", "multi"), (100_000, 100_000)),
        repeated=False,
    ),
    Case(
        "peak memory, 1 M ints",
        "ints",
        "MB",
        dict.fromkeys(("simple", "multi"), (1_000_000, 1_000_000)),
        dict.fromkeys(("simple", "multi"), (Target("growth", 1.1),)),
        repeated=False,
    ),
)

LIMITS = {
    "calls": ("items/s", "a loop and three plain calls", 1),
    "pipes": ("items/s", "4 processes, pipes, batches of 1,000 pickled", 1),
    "shared": ("MB/s", "3 processes, 1 MB arrays in shared memory", 1),
    "memcpy": ("MB/s", "64 MB from memory to memory", 1),
    "redis": ("items/s", "one Redis stream, batches of 500, pipelined", 1),
    "redis_arrays": ("MB/s", "3 processes, two Redis streams, 1 MB arrays", 1),
    "mpi": ("items/s", "4 ranks, batches of 1,000 pickled", 4),
    "mpi_pair": ("items/s", "2 ranks, batches of 1,000 pickled", 2),
    "mpi_arrays": ("MB/s", "3 ranks, 1 MB arrays as buffers", 3),
}
"""By name: the unit, what it is, and the number of MPI ranks."""


def selected(cases: str | None, only: str | None) -> list[tuple[Case, list[str]]]:
    """Cases whose names contain a word of a list, each with those of its mappings that are wanted.

    :raises ValueError: a name is not known
    """
    words = [word.strip() for word in cases.split(",")] if cases else [""]
    for word in words:
        if not any(word in case.name for case in CASES):
            raise ValueError(f"no case is called '{word}'")
    mappings = [name.strip() for name in only.split(",")] if only else list(MAPPINGS)
    unknown = [name for name in mappings if name not in MAPPINGS]
    if unknown:
        raise ValueError(f"no mapping is called '{unknown[0]}'")
    chosen = [
        (case, [mapping for mapping in case.items if mapping in mappings])
        for case in CASES
        if any(word in case.name for word in words)
    ]
    return [(case, mappings) for case, mappings in chosen if mappings]
