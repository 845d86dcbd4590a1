"""Five PEs after a source."""

from ._chains import chain
from .testing_PEs import TestOneInOneOut, TestProducer

graph = chain(TestProducer(), *(TestOneInOneOut() for _ in range(5)))
