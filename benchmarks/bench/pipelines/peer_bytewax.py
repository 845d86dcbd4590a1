"""The integers through as many steps, on bytewax; the argument is its batch size."""

import sys

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, run_main
from marks import ITEMS, began, tally


class Last(StatelessSinkPartition):
    def __init__(self):
        self.count = 0
        self.total = 0

    def write_batch(self, items):
        for number in items:
            self.count += 1
            self.total += number
        if self.count == ITEMS:
            tally(self.count, self.total)


class Sink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Last()


def numbers():
    began()
    yield from range(ITEMS)


if __name__ == "__main__":
    flow = Dataflow("ints")
    stream = op.input("numbers", flow, TestingSource(numbers(), batch_size=int(sys.argv[1])))
    stream = op.map("first", stream, lambda number: number)
    stream = op.map("second", stream, lambda number: number)
    op.output("last", stream, Sink())
    run_main(flow)
