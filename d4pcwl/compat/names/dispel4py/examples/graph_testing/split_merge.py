"""Two outputs whose branches join in one PE."""

from d4pcwl.workflow.graph import WorkflowGraph

from .testing_PEs import TestOneInOneOut, TestOneInOneOutWriter, TestProducer, TestTwoInOneOut

prod = TestProducer(2)
returns = TestOneInOneOut()
writes = TestOneInOneOutWriter()
last = TestTwoInOneOut()

graph = WorkflowGraph()
graph.connect(prod, "output0", returns, "input")
graph.connect(prod, "output1", writes, "input")
graph.connect(returns, "output", last, "input0")
graph.connect(writes, "output", last, "input1")
