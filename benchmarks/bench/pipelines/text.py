"""The words that are counted, the same at each call, and a check of the counts."""

import random
import zlib

WORDS_PER_LINE = 10


def vocabulary():
    return [f"word{number}" for number in range(5000)]


def lines(words):
    """Lines with so many words in all, the same at each call."""
    draw = random.Random(1)
    some = vocabulary()
    usual = [
        " ".join(some[int(draw.random() ** 3 * len(some))] for _ in range(WORDS_PER_LINE))
        for _ in range(1000)
    ]
    for number in range(words // WORDS_PER_LINE):
        yield usual[number % len(usual)]


def weigh(counts):
    """A number that differs when a word was counted wrongly."""
    return sum(zlib.crc32(word.encode()) * count for word, count in counts.items())
