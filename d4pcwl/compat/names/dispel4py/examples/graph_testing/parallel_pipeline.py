"""A pipeline that ends in two branches."""

from ._chains import chain, connect
from .testing_PEs import TestOneInOneOut, TestProducer

first = TestOneInOneOut()
graph = chain(TestProducer(), first, TestOneInOneOut())
connect(graph, first, TestOneInOneOut())
