"""Two pipelines that have nothing in common."""

from ._chains import chain, connect
from .testing_PEs import TestOneInOneOut, TestProducer

graph = chain(TestProducer(), *(TestOneInOneOut() for _ in range(5)))
connect(graph, TestProducer(), *(TestOneInOneOut() for _ in range(5)))
