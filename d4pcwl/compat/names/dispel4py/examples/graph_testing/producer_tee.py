"""A source with two branches, one of them longer."""

from ._chains import chain, connect
from .testing_PEs import TestOneInOneOut, TestProducer

prod = TestProducer()
cons1a = TestOneInOneOut()
cons1b = TestOneInOneOut()
cons2 = TestOneInOneOut()
graph = chain(prod, cons1a)
connect(graph, prod, cons1b)
connect(graph, cons1a, cons2)
