"""Random words that pass one filter or two before they are counted."""

from ._chains import chain, connect
from .testing_PEs import RandomFilter, RandomWordProducer, WordCounter

words = RandomWordProducer()
first = RandomFilter()
second = RandomFilter()
counter = WordCounter()
graph = chain(words, first)
connect(graph, words, second)
connect(graph, first, counter)
connect(graph, second, counter)
