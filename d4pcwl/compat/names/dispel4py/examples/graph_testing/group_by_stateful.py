"""As ``group_by``, with two instances of the counter."""

from ._chains import chain
from .testing_PEs import RandomWordProducer, TestOneInOneOut, WordCounter

words = RandomWordProducer()
between = [TestOneInOneOut() for _ in range(3)]
counter = WordCounter()
counter.numprocesses = 2
graph = chain(words, *between, counter)
graph.partitions = [[words], between, [counter]]
