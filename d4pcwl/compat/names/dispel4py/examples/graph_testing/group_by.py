"""Words counted behind three other PEs, in three partitions."""

from ._chains import chain
from .testing_PEs import RandomWordProducer, TestOneInOneOut, WordCounter

words = RandomWordProducer()
between = [TestOneInOneOut() for _ in range(3)]
counter = WordCounter()
graph = chain(words, *between, counter)
graph.partitions = [[words], between, [counter]]
