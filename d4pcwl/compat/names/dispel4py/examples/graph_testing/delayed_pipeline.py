"""A pipeline whose last PE takes a second for an item, which is measured."""

from ...new.monitoring import ProcessTimingPE
from ._chains import chain
from .testing_PEs import TestDelayOneInOneOut, TestOneInOneOut, TestProducer

prod = TestProducer()
cons1 = TestOneInOneOut()
cons2 = ProcessTimingPE(TestDelayOneInOneOut())
graph = chain(prod, cons1, cons2)
