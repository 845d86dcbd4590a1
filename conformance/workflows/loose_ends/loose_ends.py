"""Results of several elements

Outputs that nothing is connected to are results, wherever in the graph they are: here at the
source, in the middle, twice at one element, and at an end that gets no items.
"""

from dispel4py.base import GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Numbers(ProducerPE):
    """The numbers from 1 to 30; primes among them are told apart."""

    def __init__(self):
        ProducerPE.__init__(self)
        self._add_output("primes")

    def _process(self, inputs):
        for number in range(1, 31):
            self.write("output", number)
            if number > 1 and all(number % other for other in range(2, number)):
                self.write("primes", number)


class DivMod(GenericPE):
    """Quotient and remainder by seven, on outputs of their own."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("number")
        for output in ("quotient", "remainder", "exact"):
            self._add_output(output)

    def _process(self, inputs):
        quotient, remainder = divmod(inputs["number"], 7)
        self.write("quotient", quotient)
        self.write("remainder", remainder)
        if not remainder:
            self.write("exact", [inputs["number"], quotient])


class Even(IterativePE):
    """Passes even remainders on."""

    def _process(self, remainder):
        return None if remainder % 2 else remainder


class Large(IterativePE):
    """Passes on what is larger than any remainder can be: nothing."""

    def _process(self, remainder):
        return remainder if remainder > 6 else None


numbers, divide, even, large = Numbers(), DivMod(), Even(), Large()
numbers.name, divide.name, even.name, large.name = "numbers", "divide", "even", "large"

graph = WorkflowGraph()
graph.connect(numbers, "output", divide, "number")
graph.connect(divide, "remainder", even, "input")
graph.connect(even, "output", large, "input")
