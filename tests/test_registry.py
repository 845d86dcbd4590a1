"""What mappings there are, and their options from Python and on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import example_mapping
import pytest
from mapping_kit import Plus, Source, chain

import d4pcwl
from d4pcwl.cli.dispel4py import main as dispel4py
from d4pcwl.errors import UsageError
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.dyn_redis import MAPPING as DYN_REDIS
from d4pcwl.runtime.mappings.multi import MultiOptions
from d4pcwl.runtime.mappings.registry import (
    BUILT_IN,
    Mapping,
    built_in,
    find_mapping,
    mapping_names,
    titles,
)
from d4pcwl.runtime.options import Options, option

SCRIPT = """
from dispel4py.base import ProducerPE
from dispel4py.workflow_graph import WorkflowGraph

class Numbers(ProducerPE):
    def _process(self, inputs):
        return 7

graph = WorkflowGraph()
graph.add(Numbers())
"""


@dataclass(frozen=True)
class Spied(Options):
    count: int = option("-c", "--count", default=4, least=1, metavar="N", help="how many")
    share: float = option("--share", default=0.5, help="of the whole")
    label: str | None = option("--label", help="what to call it")
    # The names of options of the command itself.
    quiet: bool = option("--calm", default=False, help="no noise")
    file: str = option("--record", default="", help="where to")


def spy() -> tuple[Mapping[Spied], list[tuple[int | None, Spied]]]:
    """A mapping that only keeps what it is given."""
    seen: list[tuple[int | None, Spied]] = []

    def run(job: Job, options: Spied) -> None:
        seen.append((job.processes, options))

    return Mapping("spy", "keeps what it is given", run, Spied), seen


@pytest.mark.parametrize("how", ["run", "stream"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, Spied()),
        ({}, Spied()),
        ({"count": 9, "label": "x", "quiet": True}, Spied(9, label="x", quiet=True)),
        ({"share": 1, "label": None}, Spied(share=1)),
        (Spied(2), Spied(2)),
    ],
)
def test_options_reach_the_mapping(how: str, given: Any, expected: Spied) -> None:
    mapping, seen = spy()
    list(getattr(d4pcwl, how)(chain(Source([1])), mapping=mapping, processes=3, options=given))
    assert seen == [(3, expected)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cuont": 1}, r"the mapping spy has no option 'cuont'; did you mean count\?"),
        ({"cuont": 1, "lable": "x"}, r"'cuont'.*\n.*'lable'; did you mean label\?"),
        ({"num": 3}, "has no option 'num'; the number of processes is an argument of its own"),
        ({7: 3}, "has no option 7"),
        ({"count": "4"}, r"option count \(-c, --count\): expected a whole number, not '4'"),
        ({"count": True}, "option count .* expected a whole number, not True"),
        ({"count": None}, "option count .* expected a whole number, not None"),
        ({"count": 0}, r"option count \(-c, --count\): at least 1 is needed, not 0"),
        ({"share": float("nan"), "label": 3}, "expected a text, not 3"),
        ({"quiet": 1, "share": "a"}, r"expected a number, not 'a'\n.* True or False, not 1"),
        (
            MultiOptions(),
            "options of the mapping spy must be a dictionary or Spied, not MultiOptions",
        ),
        ("count=3", "must be a dictionary or Spied, not 'count=3'"),
    ],
)
def test_options_that_are_not_right_are_refused_before_anything_runs(given: Any, said: str) -> None:
    mapping, seen = spy()
    with pytest.raises(UsageError, match=said):
        d4pcwl.run(chain(Source([1])), mapping=mapping, options=given)
    with pytest.raises(UsageError, match=said):
        list(d4pcwl.stream(chain(Source([1])), mapping=mapping, options=given))
    assert seen == []


def test_an_option_of_another_type_is_refused_where_it_is_declared() -> None:
    @dataclass(frozen=True)
    class Odd(Options):
        places: list[int] = option("--places", help="where")  # noqa: RUF009

    with pytest.raises(TypeError, match=r"Odd\.places: an option is one of bool, int, float, str"):
        Odd()


def test_the_command_gives_the_same_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping, seen = spy()
    monkeypatch.setattr("d4pcwl.runtime.mappings.registry.find_mapping", lambda name: mapping)
    script = tmp_path / "flow.py"
    script.write_text(SCRIPT)
    command = ["spy", str(script), "-n", "5", "-c", "9", "--label", "x", "--share", "2", "--calm"]
    assert dispel4py(command) == 0
    assert seen == [(5, Spied(9, 2.0, "x", quiet=True))]
    assert isinstance(seen[0][1].share, float)


def test_what_the_command_is_given_is_checked_in_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "flow.py"
    script.write_text(SCRIPT)
    assert dispel4py(["multi", str(script), "--shared-memory", "-1"]) == 2
    told = capsys.readouterr().err
    assert "option shared_memory (--shared-memory): at least 0 is needed, not -1" in told


@pytest.mark.parametrize("fused", [False, True])
def test_options_of_the_static_mappings_make_the_plan(fused: bool) -> None:
    """From Python, too, PEs can be fused."""
    seen = d4pcwl.run(
        chain(Source([1]), Where(), Where()),
        mapping="multi",
        processes=4,
        options={"simple": fused},
    )
    ((first, second),) = seen["Where2"]["output"]
    assert (first == second) == fused


class Where(Plus):
    """Adds the number of its process."""

    stateful = True

    def _process(self, data: Any) -> Any:
        return (*(data if isinstance(data, tuple) else ()), os.getpid())


def test_the_server_of_a_run_can_be_named_in_python() -> None:
    for options in ({"redis_url": "ftp://host"}, DYN_REDIS.options(redis_url="ftp://host")):
        with pytest.raises(UsageError, match="ftp"):
            d4pcwl.run(chain(Source([1])), mapping="dyn_redis", options=options)


# --- which mappings there are ---------------------------------------------------------------------


def test_every_mapping_says_what_it_is() -> None:
    assert [mapping.name for mapping in built_in()] == list(BUILT_IN)
    for mapping in built_in():
        assert mapping.title
        assert mapping.options() == mapping.options.of(None, mapping.name)
    assert {mapping.name for mapping in built_in() if mapping.ranks} == {"mpi"}
    assert [mapping.name for mapping in built_in() if not mapping.parallel] == ["simple"]


@pytest.mark.parametrize("name", ["dyn_multi", "dispel4py.new.new_dynamic", "dispel4py.new.simple"])
def test_mappings_go_by_upstreams_names_too(name: str) -> None:
    assert find_mapping(name).name in ("dyn_multi", "simple")


def test_only_the_chosen_mapping_is_imported(tmp_path: Path) -> None:
    script = tmp_path / "flow.py"
    script.write_text(SCRIPT)
    code = (
        "import json, sys\n"
        "from d4pcwl.cli.dispel4py import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "simple", str(script)], capture_output=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    mappings = {name for name in loaded if name.startswith("d4pcwl.runtime.mappings.")}
    assert {name.rpartition(".")[2] for name in mappings} == {"registry", "simple"}
    rooms = ("d4pcwl.runtime.redis", "d4pcwl.runtime.pool", "d4pcwl.runtime.static")
    assert not [name for name in loaded if name.startswith(rooms)]
    assert "importlib.metadata" not in loaded


def test_listing_mappings_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from d4pcwl.runtime.mappings.registry import titles\n"
        "assert len(titles()) >= 10\n"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {
        "numpy",
        "networkx",
        "redis",
        "zmq",
        "mpi4py",
        "d4pcwl.runtime.pool.parent",
    }


# --- those that other packages bring --------------------------------------------------------------


def test_the_mapping_of_the_docs_is_found_by_its_entry_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mapping_names() == [*BUILT_IN, example_mapping.NAME]
    assert "the threads of one process" in titles()[example_mapping.NAME]
    script = tmp_path / "flow.py"
    script.write_text(SCRIPT)
    assert dispel4py(["threads", str(script), "-n", "2", "--room", "3", "-i", "2"]) == 0
    line = '{"pe": "Numbers", "port": "output", "data": 7}\n'
    assert capsys.readouterr().out == 2 * line
    with pytest.raises(SystemExit):
        dispel4py(["threads", "--help"])
    told = capsys.readouterr().out
    assert "--room N" in told
    assert "the threads of one process" in " ".join(told.split())


def test_a_mapping_that_is_misspelt_is_told_with_its_nearest() -> None:
    with pytest.raises(UsageError, match=r"no mapping is called 'thraeds'; did you mean threads"):
        find_mapping("thraeds")


def test_mappings_that_cannot_be_imported_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_mapping.py").write_text("raise RuntimeError('no luck')\n")
    lines = [
        *("[d4pcwl.mappings]", "broken = broken_mapping:MAPPING", "number = math:pi"),
        *("simple = math:e", "threads = math:tau"),
    ]
    example_mapping.write_entry_points(tmp_path, "strange", lines)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"'broken' cannot be imported from .*: no luck"):
        find_mapping("broken")
    with pytest.raises(UsageError, match="math:pi of the mapping 'number' is not a Mapping"):
        find_mapping("number")
    with pytest.raises(UsageError, match="several packages bring a mapping 'threads'"):
        find_mapping("threads")
    assert find_mapping("simple").title == titles()["simple"]
    assert "no luck" in titles()["broken"]


def test_a_document_names_a_mapping_of_another_package_only_where_it_is_chosen(
    tmp_path: Path,
) -> None:
    script = tmp_path / "flow.py"
    script.write_text(SCRIPT)

    def symbols(mapping: str) -> list[str]:
        document = d4pcwl.to_cwl(script, mapping=mapping).document
        (found,) = [entry for entry in document["inputs"] if entry["id"] == "mapping"]
        assert found["default"] == mapping
        return list(found["type"]["symbols"])

    assert symbols("simple") == list(BUILT_IN)
    assert symbols("threads") == [*BUILT_IN, "threads"]
