"""Processing elements (PEs): the base classes that users derive from, under dispel4py's names.

The process that loads the script creates a PE (``__init__``), names it and connects its ports. Then
each *instance* of the PE runs ``preprocess`` once, ``process`` for every item, and ``postprocess``
once. All of these may call ``write``. The runtime binds ``write`` of every instance to the routes
of its outputs (``runtime/engine/instance.py``).
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from d4pcwl.errors import GraphError, PEError, nearest
from d4pcwl.workflow.made import MADE_WITH, arguments

if TYPE_CHECKING:
    from numpy.random import Generator

NAME = "name"
TYPE = "type"
DESCRIPTION = "descr"
META = "meta"
GROUPING = "grouping"
ORDERED = "ordered"
"""In an input's entry, False: the order of its items does not matter."""

WRITER = "writer"
DRAWN = "_drawn"
"""The attribute of a running PE that has its generator, or a function that makes it."""

RESULT = "result"
"""In an output's entry, False: if the output is not connected, its items are not results."""


class _Generator:
    """``self.rng`` of PEs that do not set it themselves: the generator for the current item."""

    def __get__(self, pe: Any, owner: type | None = None) -> Generator:
        drawn = vars(pe).get(DRAWN) if pe is not None else None
        if drawn is None:
            raise PEError(
                "self.rng exists only while the PE runs, in _preprocess, _process and _postprocess"
                if pe is None or bool(getattr(pe, "numbered", "")) or not hasattr(pe, "rank")
                else (
                    "self.rng was not found when the class was read: write self.rng in one of "
                    "its methods"
                )
            )
        if callable(drawn):
            drawn = vars(pe)[DRAWN] = drawn()
        return drawn  # type: ignore[no-any-return]


class GenericPE:
    """The base class of all PEs, with named inputs and outputs.

    :param numprocesses: the number of instances that the user asks for

    A subclass declares its ports in ``__init__``, with :meth:`_add_input` and :meth:`_add_output`.
    It overrides :meth:`_process` (or :meth:`process`). This method gets a dictionary from input
    name to item, and may return a dictionary from output name to item.

    These class attributes say how the PE runs:

    - ``single = True``: the PE has one instance.
    - ``stateful = True`` or ``False``: the PE keeps state, or not. Without it, d4pcwl reads the
      source of the class to find out.
    - ``heavy = True``: the work on one item is long, so items are handed out one by one. The
      dynamic mappings keep one process for the PEs that are in no pool, which takes no such items.
    - ``ordered = False``: the order of its items, and of its results, does not matter.
    - ``on_error`` and ``time_out``: what happens when the PE fails on an item.
    - ``cwl``: what the PE declares for CWL.
    """

    single: ClassVar[bool] = False
    heavy: ClassVar[bool] = False
    ordered: ClassVar[bool] = True
    on_error: ClassVar[str | None] = None
    time_out: ClassVar[float | None] = None
    cwl: ClassVar[Any] = None

    rng = _Generator()
    """numpy's random Generator. There is one for each item; it depends on the seed of the run, on
    the PE, and on the number of the item in the stream. See docs/parameters.md."""

    numbered: str = ""
    """If the PE draws random numbers: the name of the generator in its code, as found by reading
    it. Its items then come as pairs with their numbers."""

    hand_on: Callable[[], None] | None = None
    """Sends at once what was written for the current item, in mappings that send it when the item
    is done. If the worker dies, the item is worked on again, and is written again."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        pe = super().__new__(cls)
        vars(pe)[MADE_WITH] = arguments(args, kwargs)
        return pe

    def __init__(self, numprocesses: int = 1) -> None:
        self.inputconnections: dict[str, dict[str, Any]] = {}
        self.outputconnections: dict[str, dict[str, Any]] = {}
        self.numprocesses = numprocesses
        self.name = type(self).__name__
        self.id = self.name

    def _add_input(
        self,
        name: str,
        grouping: Any = None,
        tuple_type: Sequence[str] | None = None,
        *,
        ordered: bool = True,
    ) -> None:
        """Declare an input.

        :param grouping: see :mod:`d4pcwl.workflow.grouping`
        :param ordered: False if the order of its items does not matter; then no item waits for
            an earlier one
        """
        connection: dict[str, Any] = {NAME: name}
        if not ordered:
            connection[ORDERED] = False
        if grouping is not None and grouping != []:
            connection[GROUPING] = grouping
        if tuple_type:
            connection[TYPE] = tuple_type
        self.inputconnections[name] = connection

    def _add_output(self, name: str, tuple_type: Sequence[str] | None = None) -> None:
        """Declare an output."""
        connection: dict[str, Any] = {NAME: name}
        if tuple_type:
            connection[TYPE] = tuple_type
        self.outputconnections[name] = connection

    def set_input_types(self, types: Mapping[str, Any]) -> None:
        """Get the types of the items on each input; override it to derive or to check types."""

    def get_output_types(self) -> dict[str, Any]:
        """The declared type of every output.

        :raises KeyError: an output was declared without a type
        """
        untyped = [name for name, port in self.outputconnections.items() if TYPE not in port]
        if untyped:
            raise KeyError(f"{self.id}: no type is declared for output {', '.join(untyped)}")
        return {name: port[TYPE] for name, port in self.outputconnections.items()}

    def preprocess(self) -> None:
        """Called once in each instance, before its first item."""
        self._preprocess()

    def _preprocess(self) -> None:
        """Prepare an instance; override this method."""

    def process(self, inputs: dict[str, Any]) -> Any:
        """Called for every item, with a dictionary from input name to item."""
        return self._process(inputs)

    def _process(self, inputs: Any) -> Any:
        """Work on one item; override this method."""

    def postprocess(self) -> None:
        """Called once in each instance, after its last item; it may still write."""
        self._postprocess()

    def _postprocess(self) -> None:
        """Work at the end of the stream; override this method."""

    def write(self, name: str, data: Any, **kwargs: Any) -> None:
        """Send ``data`` to output ``name``.

        :param kwargs: for the record of the run, if there is one (docs/provenance.md):
            ``derived_from``, a list of what :meth:`item_id` gave for the items that ``data``
            comes from; ``metadata``, a dictionary; ``location`` and ``format`` of a file that
            ``data`` stands for
        :raises PEError: the PE has no such output, or is not running
        """
        self._write(name, data)

    def _write(self, name: str, data: Any, **kwargs: Any) -> None:
        connection = self.outputconnections.get(name)
        if connection is None:
            raise PEError(unknown_port(self, "output", name))
        if WRITER not in connection:
            raise PEError(f"{self.id} writes to '{name}', but no workflow is running")
        connection[WRITER].write(data)

    def item_id(self) -> bytes | None:
        """The identity of the item that the PE works on, for ``derived_from`` of :meth:`write`;
        None if the run is not recorded, or if there is no item, as in ``_postprocess``."""
        return None

    def log(self, message: object) -> None:
        """Print one line that says which PE it is from."""
        log_line(self, message)

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle a PE without the objects that a running instance is bound to."""
        state = self.__dict__.copy()
        state["outputconnections"] = {
            name: {key: value for key, value in port.items() if key != WRITER}
            for name, port in self.outputconnections.items()
        }
        for bound in ("write", "item_id", "hand_on", DRAWN):
            state.pop(bound, None)
        return state


class PreparingPE(GenericPE, ABC):
    """A root that prepares the run: it gets all its inputs at once, before anything runs.

    ``job_orders = True`` says that its inputs are CWL job orders, in which files are objects
    rather than paths.
    """

    job_orders: ClassVar[bool] = False

    @abstractmethod
    def around_run(
        self, given: list[dict[str, Any]] | int, *, ranks: bool
    ) -> AbstractContextManager[list[dict[str, Any]]]:
        """A context manager that is entered before the run, and left after it, also on errors.

        :param given: the inputs, or a number of iterations
        :param ranks: whether all processes of the run call this, as those of ``mpi`` do
        :returns: a context manager that gives the inputs that :meth:`process` gets
        """


class BasePE(GenericPE):
    """A PE with the ports that are given, or with numbered ones: ``input0``, …, ``output0``, …"""

    INPUT_NAME = "input"
    OUTPUT_NAME = "output"

    def __init__(
        self,
        inputs: Iterable[str] | None = None,
        outputs: Iterable[str] | None = None,
        num_inputs: int = 0,
        num_outputs: int = 0,
    ) -> None:
        super().__init__()
        for name in [*(f"{self.INPUT_NAME}{i}" for i in range(num_inputs)), *(inputs or ())]:
            self._add_input(name)
        for name in [*(f"{self.OUTPUT_NAME}{i}" for i in range(num_outputs)), *(outputs or ())]:
            self._add_output(name)


class IterativePE(GenericPE):
    """A PE with one input and one output.

    ``_process(data)`` returns the item to write, or None.
    """

    INPUT_NAME = "input"
    OUTPUT_NAME = "output"

    def __init__(self) -> None:
        super().__init__()
        self._add_input(self.INPUT_NAME)
        self._add_output(self.OUTPUT_NAME)

    def process(self, inputs: dict[str, Any]) -> Any:
        result = self._process(inputs[self.INPUT_NAME])
        return None if result is None else {self.OUTPUT_NAME: result}


class ProducerPE(GenericPE):
    """A PE with one output and no input.

    ``_process(inputs)`` returns the item to write, or None.
    """

    OUTPUT_NAME = "output"

    def __init__(self) -> None:
        super().__init__()
        self._add_output(self.OUTPUT_NAME)

    def process(self, inputs: dict[str, Any]) -> Any:
        result = self._process(inputs)
        return None if result is None else {self.OUTPUT_NAME: result}


class ConsumerPE(GenericPE):
    """A PE with one input and no output: ``_process(data)`` works on each item."""

    INPUT_NAME = "input"

    def __init__(self) -> None:
        super().__init__()
        self._add_input(self.INPUT_NAME)

    def process(self, inputs: dict[str, Any]) -> Any:
        result = self._process(inputs[self.INPUT_NAME])
        if isinstance(result, GeneratorType):  # run it: its code may have effects
            for _ in result:
                pass


class SimpleFunctionPE(IterativePE):
    """Applies a function to every item.

    :param compute_fn: called as ``compute_fn(data, **params)``
    :param params: its further keyword arguments
    """

    def __init__(
        self,
        compute_fn: Callable[..., Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if compute_fn is not None:
            self.name = f"PE_{getattr(compute_fn, '__name__', type(compute_fn).__name__)}"
        self.compute_fn = compute_fn
        self.params: dict[str, Any] = dict(params or {})

    def _process(self, data: Any) -> Any:
        return None if self.compute_fn is None else self.compute_fn(data, **self.params)


def is_pe(candidate: object) -> bool:
    """Whether an object can be a node of a graph: ours, or one of upstream's PE classes.

    This works for any object: none of its own code runs.
    """
    return is_of(candidate, GenericPE) or declares(
        candidate, "inputconnections", "outputconnections", "process"
    )


def is_of(candidate: object, kind: type | tuple[type, ...]) -> bool:
    """``isinstance`` by the real type of an object. Mocks and proxies may return another
    ``__class__``, or raise an error.
    """
    return issubclass(type(candidate), kind)


def declares(candidate: object, *names: str) -> bool:
    """Whether an object that is not a class has these attributes, in itself or in its class. Its
    ``__getattr__`` is not called, because some objects return something for every name.
    """
    missing = object()
    return not is_of(candidate, type) and all(
        inspect.getattr_static(candidate, name, missing) is not missing for name in names
    )


def has_postprocess(pe: object) -> bool:
    """Whether a PE does work after its last item."""
    return any(
        getattr(type(pe), name, None) is not getattr(GenericPE, name)
        for name in ("postprocess", "_postprocess")
    )


def has_preprocess(pe: object) -> bool:
    """Whether a PE does work before its first item."""
    before = (getattr(type(pe), name, None) for name in ("preprocess", "_preprocess"))
    return tuple(before) != (GenericPE.preprocess, GenericPE._preprocess)


def writes_of_itself(pe: object) -> bool:
    """Whether a PE may write items in ``_preprocess`` or ``_postprocess``."""
    return has_postprocess(pe) or has_preprocess(pe)


def keeps_order(pe: Any, name: str | None = None) -> bool:
    """Whether the order of a PE's items matters, for the PE or for one of its inputs."""
    port = pe.inputconnections.get(name, {}) if name is not None else {}
    return bool(getattr(pe, "ordered", True)) and bool(port.get(ORDERED, True))


def takes_bare_items(pe: Any) -> bool:
    """Whether ``_process`` of a PE gets an item, and not a dictionary of items."""
    return isinstance(pe, IterativePE | ConsumerPE) and len(pe.inputconnections) == 1


def log_line(pe: Any, message: object) -> None:
    """Print ``message`` with the PE's id and rank, as one line of standard output."""
    rank = getattr(pe, "rank", None)
    source = pe.id if rank is None else f"{pe.id} (rank {rank})"
    sys.stdout.write(f"{source}: {message}\n")


def unknown_port(pe: Any, kind: str, name: str) -> str:
    """The message for a port that a PE does not have; ``kind`` is ``input`` or ``output``."""
    ports = pe.inputconnections if kind == "input" else pe.outputconnections
    if not ports:
        return f"{pe.name} has no {kind}s, so none called '{name}'"
    return f"{pe.name} has no {kind} '{name}'{nearest(str(name), map(str, ports))}"


def check_port(pe: Any, kind: str, name: str) -> None:
    """Refuse a port that ``pe`` does not have.

    :raises GraphError: names the PE and its ports
    """
    ports = pe.inputconnections if kind == "input" else pe.outputconnections
    if not isinstance(name, Hashable) or name not in ports:
        raise GraphError(unknown_port(pe, kind, name))
