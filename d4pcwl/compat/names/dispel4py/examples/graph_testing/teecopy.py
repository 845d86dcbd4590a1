"""One output that two PEs take."""

from ._chains import chain, connect
from .testing_PEs import TestOneInOneOut, TestProducer

prod = TestProducer()
graph = chain(prod, TestOneInOneOut())
connect(graph, prod, TestOneInOneOut())
