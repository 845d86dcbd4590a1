"""Five instances whose items all go to one, behind a source that is said to keep state."""

from ._chains import chain
from .testing_PEs import TestOneInOneOut, TestProducer

prod = TestProducer()
prod.__dict__["stateful"] = True
many = TestOneInOneOut()
many.numprocesses = 5
one = TestOneInOneOut()
one.numprocesses = 5
one.inputconnections["input"]["grouping"] = "global"
graph = chain(prod, many, one)
