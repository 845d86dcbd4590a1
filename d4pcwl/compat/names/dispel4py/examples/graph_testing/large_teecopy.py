"""Two branches behind a source of as many items as it is told."""

from ._chains import chain, connect
from .testing_PEs import NumberProducer, TestOneInOneOut

first = TestOneInOneOut()
graph = chain(NumberProducer(), first, TestOneInOneOut())
connect(graph, first, TestOneInOneOut())
