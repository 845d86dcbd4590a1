"""Whether a PE keeps state: one row for each way to keep it, and for what only looks so."""

from __future__ import annotations

import functools
import itertools
import linecache
import random
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from d4pcwl.workflow.state import StateReason, keeps_state

PREFIX = """
import bisect, collections, contextlib, functools, heapq, io, itertools, queue, random, sys, zlib
import numpy as np
RESULTS, SEEN, COUNTS, LIMITS = [], set(), {}, (1, 2)
TOTAL = 0
def helper(x): return x + 1
def count_up():
    global TOTAL
    TOTAL += 1
def note(store, x): store.append(x)
def mark(pe): pe.marked = True
class Tally:
    def __init__(self): self.n = 0
    def hit(self): self.n += 1
    def peek(self): return self.n
    def note(self, store, x): store.append(x)
    @property
    def next(self): self.n += 1; return self.n
    def __enter__(self): self.n += 1; return self
    @classmethod
    def shared(cls): return cls.only
class Item:
    made = 0
    def __init__(self, x): Item.made += 1
TALLY = Tally()
Tally.only = TALLY
GIVEN = iter([1])
def counts(): return COUNTS
def make_tally(): return Tally()
def fill(out, x): out[x] = 1
def walk(node): return walk(node.left) if node.left else walk(node.right)
def once(fn):
    seen = set()
    @functools.wraps(fn)
    def wrapper(self, data):
        if data not in seen:
            seen.add(data)
            return fn(self, data)
    return wrapper
def timed(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        print(fn.__name__, file=sys.stderr)
        return fn(*args)
    return wrapper
class Base:
    words = {}
    count = 0
    def __init__(self):
        self.items, self.d, self.h, self.n = [], {}, [], 0
        self.it, self.tally, self.threshold = iter([]), Tally(), 3
        self.rng, self.fn, self.inner = random.Random(1), helper, Tally()
        self.a, self.z, self.late, self.file = np.zeros(3), zlib.compressobj(), None, io.StringIO()
        self.q, self.tallies, self.kind = queue.Queue(), [Tally()], Tally
        self.steps, self.next_id = [abs, TALLY.hit], itertools.count().__next__
    def store(self): return self.items
    def fresh(self): return []
    def keep(self, store, x): store.append(x)
    @contextlib.contextmanager
    def opened(self): yield self.items
    def write(self, name, data): pass
    def log(self, text): pass
    write.__module__ = log.__module__ = "d4pcwl.workflow.pe"
"""


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make an instance of class ``PE`` from source that inspect can, or cannot, find."""
    files: list[str] = []

    def build(source: str, readable: bool = True) -> Any:
        text = PREFIX + textwrap.dedent(source)
        file = f"/script/{request.node.nodeid}-{len(files)}.py"
        if readable:
            linecache.cache[file] = (len(text), None, text.splitlines(True), file)
            files.append(file)
        space: dict[str, Any] = {"__name__": "script"}
        exec(compile(text, file, "exec"), space)
        return space["PE"]()

    yield build
    for file in files:
        del linecache.cache[file]


def method(body: str) -> str:
    """Class PE whose ``_process`` has the ``body``, written with ``;`` or over several lines."""
    return "class PE(Base):\n    def _process(self, data):\n" + textwrap.indent(
        textwrap.dedent(body).strip(), " " * 8
    )


STATEFUL = [
    ("self.n = data", "assigns self.n"),
    ("self.n += 1", "assigns self.n"),
    ("self.n: int = 1", "assigns self.n"),
    ("a, self.n = data", "assigns self.n"),
    ("(a, *self.n) = data", "assigns self.n"),
    ("for self.n in data: pass", "assigns self.n"),
    ("with data as self.n: pass", "assigns self.n"),
    ("del self.n", "deletes self.n"),
    ("self.d[data] = 1", "assigns self.d[data]"),
    ("self.a.b += 1", "assigns self.a.b"),
    ("self.d[data][0] = 1", "assigns self.d[data][0]"),
    ("del self.d[data]", "deletes self.d[data]"),
    ("self.items.append(data)", "calls self.items.append"),
    ("self.d.setdefault(data, []).append(1)", "calls self.d.setdefault"),
    ("self.d[data].append(1)", "calls self.d[data].append"),
    ("self.d.get(data).add(1)", "calls self.d[...].add"),
    ("return self.q.popleft()", "calls self.q.popleft"),
    ("self.file.write(data)", "calls self.file.write"),
    ("heapq.heappush(self.h, data)", "calls heappush(self.h, ...)"),
    ("bisect.insort(self.items, data)", "calls insort(self.items, ...)"),
    ("list.append(self.items, data)", "calls append(self.items, ...)"),
    ("return next(self.it)", "calls next(self.it, ...)"),
    ("for x in self.it: return x", "draws from self.it"),
    ("return self.rng.random()", "draws from self.rng"),
    ("setattr(self, 'n', 1)", "calls setattr(self, ...)"),
    ("getattr(self, 'items').append(1)", "calls self.items.append"),
    ("self.__dict__.update(data)", "calls self.__dict__.update"),
    ("vars(self)['n'] = 1", "assigns self.__dict__['n']"),
    ("super().__setattr__('n', 1)", "calls super().__setattr__"),
    ("counts = self.d\ncounts[data] += 1", "assigns self.d[data]"),
    ("a, b = self.items, self.d\nb[data] = a", "assigns self.d[data]"),
    ("me = self\nme.n = 1", "assigns self.n"),
    ("items = self.items\nitems += [data]", "extends self.items"),
    ("items = self.items\nitems += data", "extends self.items"),
    ("for group in self.d.values(): group.append(data)", "calls self.d[...][...].append"),
    ("push = self.items.append\npush(data)", "calls self.items.append"),
    ("list(map(self.items.append, data))", "calls self.items.append"),
    ("return [self.items.pop() for _ in data]", "calls self.items.pop"),
    ("if (items := self.items) is not None: items.clear()", "calls self.items.clear"),
    ("def inner():\n    self.n = 1\ninner()", "assigns self.n"),
    ("f = lambda: self.items.append(1)\nf()", "calls self.items.append"),
    ("global TOTAL\nTOTAL += 1", "assigns the global TOTAL"),
    ("RESULTS.append(data)", "calls RESULTS.append"),
    ("COUNTS[data] = 1", "assigns COUNTS[data]"),
    ("seen = SEEN\nseen.add(data)", "calls SEEN.add"),
    ("print(data, file=self.out)", "writes its output to self.out"),
    ("type(self).count += 1", "assigns type(self).count"),
    ("self.__class__.count += 1", "assigns self.__class__.count"),
    ("PE.count += 1", "assigns PE.count"),
    ("Base.words[data] = 1", "assigns Base.words[data]"),
    ("self.words.update(data)", "calls self.words.update"),
    ("count_up()", "assigns the global TOTAL in count_up"),
    ("note(self.items, data)", "calls self.items.append in note"),
    ("mark(self)", "assigns self.marked in mark"),
    ("self.tally.hit()", "assigns self.n in hit"),
    ("TALLY.hit()", "assigns TALLY.n in hit"),
    ("helper.calls += 1", "assigns helper.calls"),
    ("self.store().append(data)", "calls self.items.append"),
    ("items = self.store()\nitems.append(data)", "calls self.items.append"),
    ("with self.opened() as items: items.append(data)", "calls self.items.append"),
    ("counts()[data] = 1", "assigns COUNTS[data]"),
    ("globals()['TOTAL'] = data", "assigns globals()['TOTAL']"),
    ("self.keep(self.items, data)", "calls self.items.append in keep"),
    ("self.keep(store=self.items, x=data)", "calls self.items.append in keep"),
    ("self.tally.note(self.items, data)", "calls self.items.append in note"),
    ("self.late.hit()", "assigns self.late.n in hit"),
    ("self.tallies[0].hit()", "assigns self.tallies[0].n in hit"),
    ("for tally in self.tallies: tally.hit()", "assigns self.tallies[...].n in hit"),
    ("hit = self.tally.hit\nhit()", "assigns self.n in hit"),
    ("list(map(self.tally.hit, data))", "assigns self.n in hit"),
    ("list(map(TALLY.hit, data))", "assigns TALLY.n in hit"),
    ("return self.tally.next", "assigns self.n in next"),
    ("with self.tally: pass", "assigns self.n in __enter__"),
    ("Tally.shared().hit()", "assigns Tally.only.n in hit"),
    ("self.kind.shared().hit()", "assigns"),
    ("return Item(data)", "assigns Item.made in __init__"),
    ("for step in self.steps: data = step(data)", "assigns self.n in hit"),
    ("return self.next_id()", "calls __next__ of an object"),
    ("return list(itertools.islice(self.it, 2))", "draws from self.it"),
    ("return data in self.it", "draws from self.it"),
    ("for x in GIVEN: return x", "draws from GIVEN"),
    ("return self.q.get()", "calls get of self.q"),
    ("return self.z.compress(data)", "calls compress of self.z"),
    ("return self.file.read(1)", "calls read of self.file"),
    ("np.add.at(self.a, data, 1)", "calls at(self.a, ...)"),
    ("part = self.a[1:]\npart += data", "extends self.a"),
    ("column = self.a.reshape(3, 1)\ncolumn[0] = data", "assigns self.a[...][0]"),
    ("self.frame.drop(data, inplace=True)", "calls self.frame.drop"),
    ("match self.items:\n    case items: items.append(data)", "calls self.items.append"),
    ("import random\nrandom.count += 1", "assigns random.count"),
    ("from random import _inst\n_inst.last = data", "assigns _inst.last"),
]


@pytest.mark.parametrize(("body", "message"), STATEFUL, ids=[s for s, _ in STATEFUL])
def test_a_method_that_changes_what_lasts(
    make: Callable[..., Any], body: str, message: str
) -> None:
    reason = keeps_state(make(method(body)))
    assert reason is not None
    assert reason.message.startswith(message)
    assert reason.file is not None
    assert reason.line is not None


PURE = [
    "return data > self.threshold",
    "out = []\nfor x in data: out.append(x * self.threshold)\nreturn out",
    "for x in data: self.write('output', x)",
    "self.log(data); return self.threshold",
    "counts = {}\ncounts[data] = counts.get(data, 0) + 1\nreturn counts",
    "data.append(1); data['x'] = 2; data.stats.n = 3; return data",
    "items = list(self.items)\nitems.append(data)\nreturn items",
    "items = self.items\nitems = items + [data]\nitems.append(1)\nreturn items",
    "total = self.threshold\ntotal += data\nreturn total",
    "name, limit = 'a', self.threshold\nlimit += 1\nreturn limit",
    "return helper(data)",
    "return self.fn(data)",
    "return self.tally.peek() + TALLY.peek()",
    "return next(iter(self.items))",
    "write = self.write\nwrite('output', data)",
    "return sorted(x for x in data if x in LIMITS)",
    "RESULTS = []\nRESULTS.append(data)\nreturn RESULTS",
    "def inner(x):\n    nonlocal n\n    n += x\nn = 0\ninner(data)\nreturn n",
    "def inner(self):\n    self.n = 1\n    return self\nreturn inner(data)",
    "heap = []\nheapq.heappush(heap, data)\nreturn heap",
    "return random.random()",
    "return [item for item in self.items if item in self.d]",
    "return functools.reduce(lambda a, b: a + b, data, self.threshold)",
    "return self.d.get(data, None), RESULTS[0], COUNTS.get(1)",
    "return",
    "out = self.fresh()\nout.append(data)\nreturn out",
    "out = {}\nfill(out, data)\nself.keep([], data)\nreturn out",
    "row = {'items': self.items, 'n': self.threshold}\nrow['data'] = data\nreturn row",
    "part = self.a[1:] * 2\npart += data\nreturn part",
    "first = self.d['first']\nfirst += data\nreturn first",
    "tally = Tally()\ntally.hit()\nreturn tally",
    "tally = self.kind()\ntally.hit()\nreturn tally",
    "print(data, file=sys.stderr)",
    "import numpy as np\na = np.zeros(3)\na[0] = 1\nnp.add.at(a, [1], data)\nreturn a",
    "return self.late.peek(), self.tallies[0].peek()",
    "return walk(self.late)",
    "return data" + ".more(1)" * 40,
]


@pytest.mark.parametrize("body", PURE)
def test_a_method_that_changes_nothing_that_lasts(make: Callable[..., Any], body: str) -> None:
    assert keeps_state(make(method(body))) is None


CLASSES = {
    "set-up only": (
        """
        class PE(Base):
            def __init__(self):
                super().__init__()
                self._load()
            def _preprocess(self): self.table = {}; self._fill()
            def _load(self): self.x = 1
            def _fill(self): self._fill_one(); self.table[1] = 2
            def _fill_one(self): self.table[0] = 1
            def _process(self, data): return self._look(data)
            def _look(self, data): return self.table[data]
        """,
        None,
    ),
    "helper called from both": (
        """
        class PE(Base):
            def __init__(self): self.reset()
            def reset(self): self.total = 0
            def _process(self, data):
                if data is None: self.reset()
                return data
        """,
        "assigns self.total in reset",
    ),
    "inherited": (
        """
        class Counter(Base):
            def _process(self, data): self.total = data
        class PE(Counter): pass
        """,
        "assigns self.total in _process",
    ),
    "overridden without super": (
        """
        class Counter(Base):
            def _process(self, data): self.total = data
        class PE(Counter):
            def _process(self, data): return data
        """,
        None,
    ),
    "overridden with super": (
        """
        class Counter(Base):
            def _process(self, data): self.total = data
        class PE(Counter):
            def _process(self, data): return super()._process(data)
        """,
        "assigns self.total in _process",
    ),
    "overridden, called by its class": (
        """
        class Counter(Base):
            def _process(self, data): self.total = data
        class PE(Counter):
            def _process(self, data): return Counter._process(self, data)
        """,
        "assigns self.total in _process",
    ),
    "decorated": (
        """
        def timed(fn):
            def wrapper(self, *args):
                return fn(self, *args)
            return wrapper
        class PE(Base):
            @timed
            def _process(self, data): self.total = data
        """,
        "assigns self.total in _process",
    ),
    "decorated with a memory": (
        """
        class PE(Base):
            @once
            def _process(self, data): return data
        """,
        "calls seen.add in _process",
    ),
    "decorated without one": (
        """
        class PE(Base):
            @timed
            def _process(self, data): return data
        """,
        None,
    ),
    "handlers": (
        """
        class PE(Base):
            def __init__(self):
                super().__init__()
                self.on = {'a': self._add}
            def _add(self, x): self.n += x
            def _process(self, data): return self.on[data](1)
        """,
        "assigns self.n in _add",
    ),
    "handlers, pure": (
        """
        class PE(Base):
            def __init__(self): self.on = {'a': self._add}
            def _add(self, x): return x + 1
            def _process(self, data): return self.on[data](1)
        """,
        None,
    ),
    "static method that is given it": (
        """
        class PE(Base):
            @staticmethod
            def bump(counts, x): counts[x] = 1
            def _process(self, data): self.bump(self.d, data)
        """,
        "assigns self.d[x] in bump",
    ),
    "static method that is given something new": (
        """
        class PE(Base):
            @staticmethod
            def bump(counts, x): counts[x] = 1
            def _process(self, data): self.bump({}, data)
        """,
        None,
    ),
    "made by a function in the set-up": (
        """
        class PE(Base):
            def _preprocess(self): self.helper = make_tally()
            def _process(self, data): return self.helper.hit()
        """,
        "assigns self.helper.n in hit",
    ),
    "property setter": (
        """
        class PE(Base):
            @property
            def level(self): return 1
            @level.setter
            def level(self, value): self._level = value
            def _process(self, data): return data
        """,
        "assigns self._level in level",
    ),
    "class method": (
        """
        class PE(Base):
            @classmethod
            def bump(cls): cls.count += 1
            def _process(self, data): self.bump()
        """,
        "assigns cls.count in bump",
    ),
    "static method": (
        """
        class PE(Base):
            @staticmethod
            def clean(record): record.done = True; return record
            def _process(self, data): return self.clean(data)
        """,
        None,
    ),
    "postprocess that writes": (
        "class PE(Base):\n    def _postprocess(self): self.write('output', 1)",
        "has a _postprocess",
    ),
    "postprocess that reads": (
        "class PE(Base):\n    def postprocess(self): print(self.items)",
        "has a postprocess",
    ),
    "postprocess that returns": (
        "class PE(Base):\n    def postprocess(self): return {'output': 1}",
        "has a postprocess",
    ),
    "postprocess through a helper": (
        "class PE(Base):\n    def postprocess(self): self.flush()\n"
        "    def flush(self): self.write('output', 1)",
        "has a postprocess",
    ),
    "postprocess that logs": (
        "class PE(Base):\n    def _postprocess(self):\n        'Says so.'\n"
        "        self.log(f'{self.name} is done'); print('done')",
        None,
    ),
    "declared": ("class PE(Base):\n    stateful = True", "declared"),
    "declared otherwise": (
        "class PE(Base):\n    stateful = False\n    def _process(self, d): self.n = d",
        None,
    ),
    "declared in the set-up": (
        "class PE(Base):\n    def __init__(self): self.stateful = 'nature'",
        "declared",
    ),
}


@pytest.mark.parametrize(("source", "message"), CLASSES.values(), ids=CLASSES)
def test_classes(make: Callable[..., Any], source: str, message: str | None) -> None:
    reason = keeps_state(make(source))
    assert (reason and reason.message) == message


FUNCTIONS = {
    "pure": ("def fn(x): return x + 1", None),
    "lambda": ("fn = lambda x: x + 1", None),
    "lambda that appends": ("fn = lambda x: RESULTS.append(x)", "calls RESULTS.append in <lambda>"),
    "two lambdas": ("fn, other = (lambda x: x), (lambda x: RESULTS.append(x))", None),
    "builtin": ("fn = len", None),
    "bound builtin": ("fn = RESULTS.append", "calls append of a container"),
    "class": ("fn = Tally", None),
    "global": ("def fn(x):\n    global TOTAL\n    TOTAL += x", "assigns the global TOTAL in fn"),
    "default": ("def fn(x, seen=[]): seen.append(x)", "calls the default of seen.append in fn"),
    "keyword default": (
        "def fn(x, *, seen={}): seen[x] = 1",
        "assigns the default of seen[x] in fn",
    ),
    "attribute": ("def fn(x): fn.count += 1", "assigns fn.count in fn"),
    "nonlocal": (
        "def outer():\n    n = 0\n    def fn(x):\n        nonlocal n\n        n += x\n"
        "    return fn\nfn = outer()",
        "assigns the nonlocal n in fn",
    ),
    "closure": (
        "def outer():\n    seen = set()\n    def fn(x): seen.add(x)\n    return fn\nfn = outer()",
        "calls seen.add in fn",
    ),
    "partial": ("def add(k, x): return k + x\nfn = functools.partial(add, 2)", None),
    "partial with a list": (
        "def keep(store, x): store.append(x)\nfn = functools.partial(keep, [])",
        "calls the argument store.append in keep",
    ),
    "partial of a keyword": (
        "def keep(x, store): store.append(x)\nfn = functools.partial(keep, store=[])",
        "calls the argument store.append in keep",
    ),
    "cached": ("@functools.lru_cache\ndef fn(x): return x", None),
    "callable object": (
        "class Fn:\n    def __call__(self, x): return self.go(x)\n    def go(self, x): self.n = x\n"
        "fn = Fn()",
        "assigns self.n in go",
    ),
    "callable object, pure": ("class Fn:\n    def __call__(self, x): return x\nfn = Fn()", None),
    "bound method": ("fn = TALLY.hit", "assigns self.n in hit"),
    "bound method, pure": ("fn = TALLY.peek", None),
    "decorated with a memory": ("fn = once(helper)", "calls seen.add in helper"),
    "decorated by an object": (
        "class Counted:\n    def __init__(self, fn): functools.update_wrapper(self, fn)\n"
        "    def __call__(self, x): self.n = x\nfn = Counted(helper)",
        "assigns self.n in __call__",
    ),
    "calls another": ("def fn(x): count_up()", "assigns the global TOTAL in count_up"),
    "param": ("def fn(x, acc=None): acc[x] = 1", "assigns the argument acc[x] in fn"),
}


@pytest.mark.parametrize(("source", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions(make: Callable[..., Any], source: str, message: str | None) -> None:
    text = "class PE(Base):\n    def __init__(self):\n        self.compute_fn = fn\n"
    reason = keeps_state(make(f"{source}\n{text}        self.params = {{'acc': {{}}}}\n"))
    assert (reason and reason.message) == message


BYTECODE = [
    ("self.n = data", True),
    ("self.n += data", True),
    ("a = self.n\nself.n, b = data, a", True),
    ("self.d[data] = 1", True),
    ("del self.n", True),
    ("global TOTAL\nTOTAL = 1", True),
    ("self.items.append(data)", True),
    ("self.d[data].append(data)", True),
    ("items = self.items\nitems.append(data)", True),
    ("RESULTS.append(data)", True),
    ("def inner(): self.items.append(1)\ninner()", True),
    ("out = []\nout.append(self.threshold)\nreturn out", False),
    ("for x in data: self.write('output', x)", False),
    ("return [x for x in data if x > self.threshold]", False),
]


@pytest.mark.parametrize(("body", "kept"), BYTECODE, ids=[b for b, _ in BYTECODE])
def test_without_source(make: Callable[..., Any], body: str, kept: bool) -> None:
    assert (keeps_state(make(method(body), readable=False)) is not None) is kept


def test_a_closure_without_source(make: Callable[..., Any]) -> None:
    text = "def outer():\n n = 0\n def fn(x):\n  nonlocal n\n  n += x\n return fn\n"
    pe = make(text + "class PE(Base):\n    def __init__(self): self.compute_fn = outer()", False)
    assert keeps_state(pe) is not None


class Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("odd")

    __hash__ = None  # type: ignore[assignment]


class Odd(metaclass=Unhashable):
    pass


class Loud:
    @property
    def stateful(self) -> bool:
        raise RuntimeError("executed")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("executed")


def test_odd_classes_do_not_raise_and_are_not_executed() -> None:
    assert keeps_state(Odd()) == StateReason("its source cannot be read")
    assert keeps_state(Loud()) is None
    for value in (None, 1, "x", [], len, object(), itertools.count(), functools.partial(print)):
        keeps_state(value)


def test_a_reason_says_where() -> None:
    class Sampler:
        def __init__(self) -> None:
            self.random = random.Random(7)

        def _process(self, data: list[int]) -> int:
            return self.random.choice(data)

    reason = keeps_state(Sampler())
    assert reason is not None
    assert str(reason).startswith("draws from self.random in _process (")
    assert reason.file == __file__


def test_realistic_classes(make: Callable[..., Any]) -> None:
    """Whole PEs as scripts have them."""
    counts = """
    class PE(Base):
        def __init__(self):
            super().__init__()
            self.count = collections.defaultdict(int)
        def _process(self, data):
            word, n = data
            self.count[word] += n
        def _postprocess(self):
            for pair in self.count.items():
                self.write('output', pair)
    """
    detrend = """
    class PE(Base):
        def __init__(self, kind='linear'):
            super().__init__()
            self.kind = kind
        def _process(self, stream):
            for trace in stream:
                trace.detrend(self.kind)
                trace.stats.processing.append(self.kind)
            self.log('detrended %d traces' % len(stream))
            return stream
    """
    pairs = """
    class PE(Base):
        def __init__(self):
            super().__init__()
            self.seen = {}
        def process(self, inputs):
            for port, item in inputs.items():
                other = self.seen.get(port)
                if other is None:
                    self.seen[port] = item
                else:
                    self.write('output', (other, item))
    """
    reader = """
    class PE(Base):
        def _process(self, name):
            with open(name) as lines:
                for line in lines:
                    self.write('output', line.strip().split(','))
    """
    window = """
    class PE(Base):
        def __init__(self): self.window = collections.deque(maxlen=3)
        def _process(self, x):
            window = self.window
            window.append(x)
            return sum(window) / len(window)
    """
    prime = """
    class PE(Base):
        def _process(self, num):
            if all(num % i != 0 for i in range(2, num)):
                return num
    """
    split = """
    class PE(Base):
        def __init__(self, names): self.names = names
        def process(self, inputs):
            result = {}
            for name in self.names:
                result[name] = inputs['input']
            return result
    PE = functools.partial(PE, ['a', 'b'])
    """
    stateful = [keeps_state(make(text)) is not None for text in (counts, pairs, window)]
    pure = [keeps_state(make(text)) for text in (detrend, reader, prime, split)]
    assert stateful == [True] * 3
    assert pure == [None] * 4
