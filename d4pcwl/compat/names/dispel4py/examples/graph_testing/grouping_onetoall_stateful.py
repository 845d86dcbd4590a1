"""Items that go to each of two instances, from a source that is said to keep state."""

from ._chains import chain
from .testing_PEs import TestOneInOneOut, TestProducer

prod = TestProducer()
prod.__dict__["stateful"] = True
each = TestOneInOneOut()
each.numprocesses = 2
each.inputconnections["input"]["grouping"] = "all"
graph = chain(prod, each)
