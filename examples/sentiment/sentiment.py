"""Sentiment of articles

Scores the words of articles by a lexicon, and finds the places whose articles are the happiest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dispel4py.base import IterativePE
from dispel4py.workflow_graph import WorkflowGraph

from d4pcwl.library import Aggregate, Filter, ReadCSV

WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


class Score(IterativePE):
    """Writes the place of an article, and the mean score of its terms that are in a lexicon.

    The lexicon has the form of AFINN (Nielsen 2011, arXiv:1103.2903): in each line a term, a tab,
    and its score. If several terms begin at a word, the longest counts. An article without a term
    has the score 0.
    """

    def __init__(self, lexicon: Path) -> None:
        super().__init__()
        self.lexicon = lexicon

    def _preprocess(self) -> None:
        self.scores: dict[tuple[str, ...], float] = {}
        with open(self.lexicon, encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                term, score = line.split("\t")
                self.scores[tuple(term.lower().split())] = float(score)
        self.longest = max(map(len, self.scores))

    def _process(self, article: dict[str, Any]) -> dict[str, Any]:
        words = WORD.findall(article["text"].lower().replace("\u2019", "'"))
        scores = list(self.scores_of(words))
        return {"place": article["place"], "score": sum(scores) / len(scores) if scores else 0.0}

    def scores_of(self, words: list[str]) -> Iterator[float]:
        """The scores of the terms among some words."""
        start = 0
        while start < len(words):
            terms = (tuple(words[start:end]) for end in range(start + self.longest, start, -1))
            term = next((term for term in terms if term in self.scores), None)
            if term is not None:
                yield self.scores[term]
            start += len(term) if term else 1


class Happiest(IterativePE):
    """Writes the places with the largest sums of scores, at the end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.inputconnections["input"]["grouping"] = "global"
        self.number = number
        self.places: list[dict[str, Any]] = []

    def _process(self, place: dict[str, Any]) -> None:
        places = [*self.places, place]
        self.places = sorted(places, key=lambda one: (-one["sum"], one["place"]))[: self.number]

    def _postprocess(self) -> None:
        for place in self.places:
            self.write("output", place)


def has_place(article: dict[str, Any]) -> bool:
    """Whether it is known where an article comes from."""
    return bool(article["place"].strip())


def build(lexicon: Path, top: int = 3) -> WorkflowGraph:
    """Find the happiest places

    :param lexicon: terms and their scores, in the form of AFINN
    :param top: how many places are written
    """
    articles, placed = ReadCSV(numbers=False), Filter(has_place)
    score, happiest = Score(lexicon), Happiest(top)
    sums = Aggregate(["count", "mean", "sum"], value="score", by="place")
    articles.name, placed.name, score.name = "articles", "has_place", "score"
    happiest.name = "happiest"
    graph = WorkflowGraph()
    graph.connect(articles, "output", placed, "input")
    graph.connect(placed, "output", score, "input")
    graph.connect(score, "output", sums, "input")
    graph.connect(sums, "output", happiest, "input")
    return graph
