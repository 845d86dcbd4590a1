"""Random words, counted by three instances, each of which has words of its own."""

from ._chains import chain
from .testing_PEs import RandomWordProducer, WordCounter

words = RandomWordProducer()
counter = WordCounter()
counter.numprocesses = 3
graph = chain(words, counter)
