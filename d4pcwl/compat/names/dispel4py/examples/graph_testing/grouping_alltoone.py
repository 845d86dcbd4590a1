"""Five instances whose items all go to one."""

from ._chains import chain
from .testing_PEs import TestOneInOneOut, TestProducer

prod = TestProducer()
many = TestOneInOneOut()
many.numprocesses = 5
one = TestOneInOneOut()
one.numprocesses = 5
one.inputconnections["input"]["grouping"] = "global"
graph = chain(prod, many, one)
