"""Values of every kind

What plain Python has is written by one element and described, with its types, by another one: a
tuple must not arrive as a list, nor a number as text.
"""

import datetime
import decimal

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph

VALUES = [
    (1, (2, "three")),
    {"tuple": (1, 2), "list": [1, 2], "none": None},
    {1: "one", (2, 3): "a key of two"},
    {4, 5, 6},
    frozenset({"x"}),
    b"\x00\xff\x10",
    bytearray(b"changeable"),
    0,
    False,
    "",
    [],
    {},
    -0.0,
    float("inf"),
    1e-300,
    2**70,
    3 + 4j,
    "Zürich 東京 \n\t\u2028",
    datetime.datetime(2013, 2, 16, 21, 16, 9, 123456),
    datetime.timedelta(seconds=90),
    decimal.Decimal("1.10"),
    [[[[[["deep"]]]]]],
    range(3),
]


class Values(ProducerPE):
    """Writes one value of each kind, and a None inside a list."""

    def _process(self, inputs):
        for value in VALUES:
            self.write("output", value)
        self.write("output", [None])


class Wrap(IterativePE):
    """Puts a value into a dictionary and a tuple."""

    def _process(self, value):
        return {"value": (value,)}


class Describe(IterativePE):
    """Describes a value in words; the order of sets is not part of it."""

    def _process(self, item):
        (value,) = item["value"]
        if isinstance(value, (set, frozenset)):
            return [type(value).__name__, sorted(value)]
        return [type(value).__name__, repr(value)]


values, wrap, describe = Values(), Wrap(), Describe()
values.name, wrap.name, describe.name = "values", "wrap", "describe"

graph = WorkflowGraph()
graph.connect(values, "output", wrap, "input")
graph.connect(wrap, "output", describe, "input")
