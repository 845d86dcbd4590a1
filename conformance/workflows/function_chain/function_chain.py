"""A chain of functions

Plain functions become elements, some with parameters; a source and a consumer are put around them.
The script has two graphs, so it must be told which is meant.
"""

from dispel4py.base import ConsumerPE, ProducerPE, SimpleFunctionPE, create_iterative_chain
from dispel4py.workflow_graph import WorkflowGraph


def demean(samples, mean):
    return [sample - mean for sample in samples]


def rectify(samples):
    return [abs(sample) for sample in samples]


def decimate(samples, factor):
    return samples[::factor]


class Windows(ProducerPE):
    """Windows of samples, of unequal length."""

    def _process(self, inputs):
        for number in range(1, 16):
            self.write("output", [(number * step) % 13 for step in range(number)])


class Print(ConsumerPE):
    """Prints the length of each window."""

    def _process(self, samples):
        print("window of", len(samples), "samples")


windows, show = Windows(), Print()
windows.name, show.name = "windows", "show"
chain = create_iterative_chain([(demean, {"mean": 6}), rectify, (decimate, {"factor": 2})])
largest = SimpleFunctionPE(max, {"default": None})
largest.name = "largest"

pipeline = WorkflowGraph()
pipeline.connect(windows, "output", chain, "input")
pipeline.connect(chain, "output", largest, "input")
pipeline.connect(chain, "output", show, "input")

other = WorkflowGraph()
other.add(Windows())
