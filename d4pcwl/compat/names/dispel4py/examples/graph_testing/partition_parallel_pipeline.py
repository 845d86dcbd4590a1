"""Two branches, of which one is a partition of its own."""

from ._chains import chain, connect
from .testing_PEs import TestOneInOneOut, TestProducer

prod = TestProducer()
first = TestOneInOneOut()
left = TestOneInOneOut()
right = TestOneInOneOut()
graph = chain(prod, first, left)
connect(graph, first, right)
graph.partitions = [[prod, first, left], [right]]
