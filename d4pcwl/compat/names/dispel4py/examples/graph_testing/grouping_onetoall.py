"""Items that go to each of two instances."""

from ._chains import chain
from .testing_PEs import TestOneInOneOut, TestProducer

prod = TestProducer()
each = TestOneInOneOut()
each.numprocesses = 2
each.inputconnections["input"]["grouping"] = "all"
graph = chain(prod, each)
