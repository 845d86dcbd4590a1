# ruff: noqa: N999 - upstream's name
"""``dispel4py.examples.graph_testing.testing_PEs``: small PEs to try graphs and mappings with."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from d4pcwl.workflow.pe import (
    GROUPING,
    NAME,
    TYPE,
    ConsumerPE,
    GenericPE,
    IterativePE,
    ProducerPE,
)

__all__ = [
    "GROUPING",
    "NAME",
    "TYPE",
    "GenericPE",
    "IntegerProducer",
    "NumberProducer",
    "PrintDataConsumer",
    "ProvenanceLogger",
    "RandomFilter",
    "RandomWordProducer",
    "TestDelayOneInOneOut",
    "TestIterative",
    "TestMultiProducer",
    "TestOneInOneOut",
    "TestOneInOneOutWriter",
    "TestProducer",
    "TestTwoInOneOut",
    "WordCounter",
]


class TestProducer(GenericPE):
    """Counts its iterations, and writes the count to every output.

    :param numOutputs: with 1 the output is called ``output``, else ``output0``, ``output1``, …
    """

    __test__ = False  # for pytest, in whose eyes every Test… is one

    def __init__(self, numOutputs: int = 1) -> None:  # noqa: N803 - upstream's name
        super().__init__()
        names = ["output"] if numOutputs == 1 else [f"output{i}" for i in range(numOutputs)]
        for name in names:
            self._add_output(name, tuple_type=["number"])
        self.outputnames = names
        self.counter = 0

    def _process(self, inputs: Any) -> dict[str, int]:
        self.counter += 1
        return dict.fromkeys(self.outputnames, self.counter)


class NumberProducer(GenericPE):
    """Writes ``numIterations`` texts ``iteration:number`` in each iteration."""

    def __init__(self, numIterations: int = 1) -> None:  # noqa: N803 - upstream's name
        super().__init__()
        self._add_output("output", tuple_type=["number"])
        self.numIterations = numIterations
        self.counter = 0

    def process(self, inputs: Any) -> None:
        self.counter += 1
        for number in range(self.numIterations):
            self.write("output", f"{self.counter}:{number}")


class IntegerProducer(ProducerPE):
    """Writes the numbers from ``start`` to below ``limit`` in each iteration."""

    def __init__(self, start: int, limit: int) -> None:
        super().__init__()
        self.start = start
        self.limit = limit

    def _process(self, inputs: Any) -> None:
        for number in range(self.start, self.limit):
            self.write("output", number)


class TestMultiProducer(GenericPE):
    """Writes the numbers below ``num_output`` in each iteration."""

    __test__ = False

    def __init__(self, num_output: int = 10) -> None:
        super().__init__()
        self._add_output("output")
        self.num_output = num_output

    def _process(self, inputs: Any) -> None:
        for number in range(self.num_output):
            self.write("output", number)


class TestOneInOneOut(GenericPE):
    """Returns every item as it came."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("output", tuple_type=["number"])

    def process(self, inputs: dict[str, Any]) -> dict[str, Any] | None:
        return {"output": inputs["input"]}


class TestDelayOneInOneOut(TestOneInOneOut):
    """Returns every item as it came, ``delay`` seconds later."""

    def __init__(self, delay: float = 1) -> None:
        super().__init__()
        self.delay = delay

    def process(self, inputs: dict[str, Any]) -> dict[str, Any] | None:
        time.sleep(self.delay)
        return super().process(inputs)


class TestOneInOneOutWriter(TestOneInOneOut):
    """Writes every item as it came, by ``write``."""

    def process(self, inputs: dict[str, Any]) -> None:
        self.write("output", inputs["input"])


class TestTwoInOneOut(GenericPE):
    """Writes the items of ``input0`` and ``input1`` as text, joined where both come at once."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input0")
        self._add_input("input1")
        self._add_output("output", tuple_type=["result"])

    def process(self, inputs: dict[str, Any]) -> dict[str, str] | None:
        text = "".join(str(inputs[name]) for name in self.inputconnections if name in inputs)
        return {"output": text} if text else None


class TestIterative(IterativePE):
    """Returns every item as it came."""

    __test__ = False

    def _process(self, data: Any) -> Any:
        return data


class PrintDataConsumer(ConsumerPE):
    """Prints every item."""

    def _process(self, data: Any) -> None:
        sys.stdout.write(f"{data}\n")


class RandomFilter(TestOneInOneOut):
    """Returns an item or not, as chance has it."""

    input_name = "input"
    output_name = "output"

    def __init__(self) -> None:
        super().__init__()
        self._add_output("output", tuple_type=["word"])

    def process(self, inputs: dict[str, Any]) -> dict[str, Any] | None:
        return super().process(inputs) if random.random() < 0.5 else None


class WordCounter(GenericPE):
    """Counts words: for ``[word]`` it returns ``[word, how often it has come]``."""

    input_name = "input"
    output_name = "output"

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input", grouping=[0])
        self._add_output("output", tuple_type=["word", "count"])
        self.mywords: dict[Any, int] = {}

    def process(self, inputs: dict[str, Any]) -> dict[str, Any]:
        word = inputs["input"][0]
        self.mywords[word] = self.mywords.get(word, 0) + 1
        return {"output": [word, self.mywords[word]]}


class RandomWordProducer(GenericPE):
    """Returns ``[word]`` in each iteration, one of its ``words`` by chance."""

    words = [
        "accelerogram",
        "basin",
        "crust",
        "displacement",
        "epicentre",
        "fault",
        "geophone",
    ]

    def __init__(self) -> None:
        super().__init__()
        self._add_output("output", tuple_type=["word"])

    def process(self, inputs: Any = None) -> dict[str, Any]:
        return {"output": [random.choice(self.words)]}


class ProvenanceLogger(GenericPE):
    """Logs the first 300 characters of every item of ``metadata``."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("metadata")

    def process(self, inputs: dict[str, Any]) -> None:
        self.log(f"metadata: {str(inputs['metadata'])[:300]}")
