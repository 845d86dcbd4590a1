"""Random words, of which some are counted."""

from ._chains import chain
from .testing_PEs import RandomFilter, RandomWordProducer, WordCounter

words = RandomWordProducer()
filter = RandomFilter()
filter.numprocesses = 5
count = WordCounter()
count.numprocesses = 3
graph = chain(words, filter, count)
