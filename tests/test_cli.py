"""The commands as processes: exit codes, messages, what goes to which stream, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cwl_kit as kit
import pytest
from mapping_kit import has_ended_with_all

ENDLESS = """
class Endless(ProducerPE):
    def _process(self, inputs):
        import time
        print("started", flush=True)
        number = 0
        while True:
            number += 1
            self.write("output", number)
            time.sleep(0.005)
"""
HEAVY = ("numpy", "networkx", "cwltool", "cwl_utils", "ruamel", "multiprocessing", "asyncio")


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return kit.write_script(tmp_path, kit.CHAIN)


# --- help, version, names -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("dispel4py",), ("dispel4py", "simple"), ("d4p2cwl",), ("d4pcwl",),
        ("d4pcwl", "run", "simple"), ("d4pcwl", "compile"), ("d4pcwl", "stream"),
        ("d4pcwl", "stream", "head"),
        ("d4pcwl", "stream", "info"), ("d4pcwl", "stream", "cat"), ("python", "-m", "d4pcwl"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    done = kit.command(*command, "--help")
    assert done.stdout.startswith("usage: ")
    assert done.stderr == ""


@pytest.mark.parametrize("module", ["d4p2cwl", "dispel4py", "main"])
def test_help_imports_nothing_heavy(module: str) -> None:
    code = f"""
import sys
from d4pcwl.cli.{module} import main
try:
    main(["--help"])
except SystemExit:
    pass
sys.stderr.write(" ".join(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: " in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command", [("dispel4py",), ("d4p2cwl",), ("d4pcwl",), ("dispel4py", "multi")]
)
def test_the_version_is_the_packages(command: tuple[str, ...]) -> None:
    import d4pcwl

    assert kit.command(*command, "--version").stdout == f"d4pcwl {d4pcwl.__version__}\n"


@pytest.mark.parametrize(
    "command", [("dispel4py",), ("d4p2cwl",), ("d4pcwl",), ("d4pcwl", "stream")]
)
def test_a_command_without_its_arguments_is_wrong_usage(command: tuple[str, ...]) -> None:
    assert "required" in said(kit.command(*command, code=2))


def test_one_command_stands_for_all(script: Path) -> None:
    plain = kit.command("dispel4py", "simple", script).stdout
    assert kit.command("d4pcwl", "run", "simple", script).stdout == plain
    assert kit.command("python", "-m", "d4pcwl", "run", "multi", script, "-n", 1).stdout == plain
    compiled = kit.command("d4p2cwl", "-q", script).stdout
    assert kit.command("d4pcwl", "compile", "-q", script).stdout == compiled
    assert kit.command("python", "-m", "d4pcwl", "compile", "-q", script).stdout == compiled


@pytest.mark.parametrize("name", ["dispel4py.new.multi_process", "multi", "multi_process"])
def test_upstreams_names_of_mappings(name: str, script: Path) -> None:
    done = kit.command("dispel4py", name, script, "-n", 2, code=2 if name == "multi_process" else 0)
    assert ('"data": 8' in done.stdout) == (name != "multi_process")


# --- what goes where ------------------------------------------------------------------------------


def test_results_come_where_they_belong_among_the_prints(script: Path) -> None:
    done = kit.command("dispel4py", "simple", script, "-i", 2)
    told = "".join(line[0] for line in done.stdout.splitlines())
    assert told == 2 * "c{{{{{"


@pytest.mark.parametrize("name", ["r.jsonl", "r.ndjson", "r.json", "r.d4ps", "r.stream"])
def test_results_go_to_a_file_whose_suffix_says_the_form(name: str, script: Path) -> None:
    results = script.parent / name
    done = kit.command("dispel4py", "simple", script, "--results", results)
    assert done.stdout == "counting\n"
    assert not results.with_name(f"{name}.partial").exists()
    text = (
        results.read_text()
        if "js" in name
        else kit.command("d4pcwl", "stream", "cat", results).stdout
    )
    assert [json.loads(line)["data"] for line in text.splitlines()] == [0, 2, 4, 6, 8]


def test_stream_files_can_be_looked_into(script: Path) -> None:
    results = script.parent / "r.d4ps"
    kit.command("dispel4py", "simple", script, "--results", results)
    head = kit.command("d4pcwl", "stream", "head", "-n", 2, results).stdout
    assert [json.loads(line)["data"] for line in head.splitlines()] == [0, 2]
    info = json.loads(kit.command("d4pcwl", "stream", "info", "--json", results).stdout)
    assert (info["items"], info["sealed"]) == (5, True)
    results.write_bytes(results.read_bytes()[:-9])
    assert "sealed    no" in kit.command("d4pcwl", "stream", "info", results, code=1).stdout
    assert "no end record" in said(kit.command("d4pcwl", "stream", "cat", results, code=1))
    assert "not a stream file" in said(kit.command("d4pcwl", "stream", "cat", script, code=1))
    assert "cannot be read" in said(kit.command("d4pcwl", "stream", "head", "gone", code=1))


@pytest.mark.parametrize("name", ["r.jsonl", "r.d4ps"])
@pytest.mark.parametrize("how", [("simple",), ("multi", "-n", "2")], ids=" ".join)
def test_a_failure_keeps_and_marks_the_results_so_far(
    how: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    script = kit.write_script(
        tmp_path, kit.CHAIN.replace("return 2 * data", "return 2 * data if data < 3 else 1 / 0")
    )
    results = tmp_path / name
    results.write_text("of an earlier run")
    done = kit.command("dispel4py", how[0], script, *how[1:], "--results", results, code=1)
    message = said(done)
    assert f"the results so far are kept in {results}.partial" in message
    assert "PE Double failed on item 4 of 'input'" in message
    assert re.search(
        r"flow\.py:\d+: ZeroDivisionError: division by zero\n +return 2 \* data if", message
    )
    assert results.read_text() == "of an earlier run"
    partial = Path(f"{results}.partial")
    if name == "r.jsonl":
        text = partial.read_text()
    else:
        text = kit.command("d4pcwl", "stream", "cat", "--partial", partial).stdout
    assert [json.loads(line)["data"] for line in text.splitlines()] == [0, 2, 4]


def test_quiet_and_verbose(script: Path) -> None:
    told = kit.command("dispel4py", "multi", script, "-n", 2, "-v").stderr
    assert "process 1: Double[0]" in told
    assert "Double (rank 1): processed 5 items" in told
    given = ("-d", '{"Double": [{"input": 1}]}')
    assert (
        "note: no input is given for Numbers"
        in kit.command("dispel4py", "simple", script, *given).stderr
    )
    assert kit.command("dispel4py", "simple", script, *given, "-q").stderr == ""
    assert (
        "not allowed with" in kit.command("dispel4py", "simple", script, "-q", "-v", code=2).stderr
    )


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.CHAIN.replace("return 2 * data", "return 1 / 0"))
    done = kit.command("dispel4py", "simple", script, "--debug", code=1)
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.rstrip().splitlines()[-2].endswith("ZeroDivisionError: division by zero")


def test_notes_say_what_was_found_and_can_be_silenced(tmp_path: Path) -> None:
    text = kit.CHAIN + "\nimport os\nos.environ.get('MODE', 'fast')\nopen('data.txt')\n"
    script = kit.write_script(tmp_path, text, data__txt="x")
    done = kit.command("d4p2cwl", script, cwd=tmp_path)
    assert "the environment variable MODE becomes a parameter" in done.stderr
    assert re.search(
        r"note: .*flow\.py:\d+: data\.txt seems to be a file that the script reads", done.stderr
    )
    quiet = kit.command("d4p2cwl", "-q", script, cwd=tmp_path)
    assert (quiet.stderr, quiet.stdout) == ("", done.stdout)


# --- inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["left", "left0"])
def test_inputs_by_name_or_id_from_text_or_file(key: str, tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.ROOTS)
    text = json.dumps({key: [{"input": 4}]})
    (tmp_path / "in.json").write_text(text)
    by_text = kit.command("dispel4py", "simple", script, "-q", "-d", text)
    by_file = kit.command(
        "dispel4py", "simple", script, "-q", "-f", tmp_path / "in.json", "-d", '{"right": 1}'
    )
    assert json.loads(by_text.stdout)["data"] == [8]
    assert by_file.stdout == by_text.stdout


def test_files_in_inputs_become_paths(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.ROOTS)
    items = [{"input": {"class": "File", "location": "file:///a%20b/c"}}]
    done = kit.command("dispel4py", "simple", script, "-q", "-d", json.dumps({"left": items}))
    assert json.loads(done.stdout)["data"] == ["/a b/c/a b/c"]


# --- bad input ------------------------------------------------------------------------------------

BAD_RUNS: dict[str, tuple[list[str], int, str]] = {
    "no such script": (["simple", "flwo.py"], 2, "no such script: flwo.py; did you mean flow.py"),
    "no such module": (["simple", "flwo"], 2, "no such script or module: flwo"),
    "a folder": (["simple", "."], 2, "is a folder"),
    "no graph": (["simple", "empty.py"], 2, "empty.py holds no workflow graph"),
    "several graphs": (
        ["simple", "two.py"],
        2,
        "two.py holds several graphs: graph, other; choose one with -a",
    ),
    "no such graph": (["simple", "two.py", "-a", "otehr"], 2, "did you mean other?"),
    "not a graph": (["simple", "two.py", "-a", "numbers"], 2, "numbers is a Numbers, not a graph"),
    "syntax": (["simple", "syntax.py"], 2, "syntax.py:1:"),
    "fails at load": (["simple", "fails.py"], 2, "fails.py:1: ZeroDivisionError"),
    "missing module": (
        ["simple", "lacks.py"],
        2,
        "lacks.py:1: ModuleNotFoundError: No module named 'gone_x'",
    ),
    "unknown mapping": (
        ["simpel", "flow.py"],
        2,
        "no mapping is called 'simpel'; did you mean simple",
    ),
    "unknown option": (["simple", "flow.py", "--nmu"], 2, "unrecognized arguments: --nmu"),
    "no processes": (["multi", "flow.py", "-n", "0"], 2, "at least one process is needed"),
    "iterations": (["simple", "flow.py", "-i", "-2"], 2, "iterations is negative"),
    "json": (
        ["simple", "flow.py", "-d", '{"Double": [,]}'],
        2,
        "-d:1:13: not JSON: Expecting value",
    ),
    "json file": (["simple", "flow.py", "-f", "bad.json"], 2, "bad.json:2:8: not JSON"),
    "no json file": (["simple", "flow.py", "-f", "gone.json"], 2, "gone.json: cannot be read"),
    "unknown pe": (
        ["simple", "flow.py", "-f", "unknown.json"],
        2,
        "no such PE; did you mean Double",
    ),
    "unknown input": (
        ["simple", "flow.py", "-d", '{"Double": [{"inptu": 1}]}'],
        2,
        "did you mean input?",
    ),
    "suffix": (["simple", "flow.py", "--results", "r.csv"], 2, "unknown suffix; use"),
    "results folder": (["simple", "flow.py", "--results", "gone/r.jsonl"], 2, "cannot be written"),
    "pe raises": (["simple", "raises.py"], 1, "PE Double failed on item 1 of 'input': 0\nraises.p"),
    "pe raises in multi": (["multi", "raises.py", "-n", "2"], 1, "raises.py:"),
    "from": (
        ["simple", "flow.py", "--stage", "Double", "--from", "x"],
        2,
        "--from x: no such file",
    ),
    "from without stage": (
        ["simple", "flow.py", "--from", "a.b=c"],
        2,
        "--from PE.PORT=FILE needs --stage",
    ),
    "digest": (
        ["simple", "flow.py", "--stage", "Double", "--from", "Numbers.output=x", "--expect", "0"],
        2, "has changed since this CWL was made",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    kit.write_script(folder, kit.CHAIN)
    kit.write_script(folder, kit.CHAIN.replace("return 2 * data", "return 1 / 0"), "raises.py")
    kit.write_script(folder, kit.CHAIN + "\nother = WorkflowGraph()\n", "two.py")
    for name, text in {
        "empty.py": "x = 1\n",
        "syntax.py": "def f(:\n",
        "fails.py": "1 / 0\n",
        "lacks.py": "import gone_x\n",
        "bad.json": '{"Double":\n  [1, 2}\n',
        "unknown.json": '{"Duoble": 1}',
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("case", BAD_RUNS)
def test_bad_input_gives_one_clear_message(case: str, bad: Path) -> None:
    arguments, code, message = BAD_RUNS[case]
    before = sorted(bad.rglob("*"))
    done = kit.command("dispel4py", *arguments, cwd=bad, code=code)
    assert message in said(done)
    assert done.stderr.count("error:") == 1
    assert [path for path in sorted(bad.rglob("*")) if "__pycache__" not in str(path)] == [
        path for path in before if "__pycache__" not in str(path)
    ]


BAD_COMPILES: dict[str, tuple[list[str], str]] = {
    "no such script": (["flwo.py"], "no such script: flwo.py; did you mean flow.py"),
    "no graph": (["empty.py"], "empty.py holds no workflow graph"),
    "several graphs": (["two.py"], "choose one with -a"),
    "syntax": (["syntax.py"], "syntax.py:1:"),
    "missing module": (["lacks.py"], "lacks.py:1:1: module 'gone_x'"),
    "unknown mapping": (["flow.py", "--mapping", "mutli"], "did you mean multi"),
    "no processes": (["flow.py", "-n", "0"], "at least one process"),
    "unknown port": (["flow.py", "--cut", "Numbers.outptu"], "did you mean Numbers.output?"),
    "no composites": (["flow.py", "--cut", "composite"], "no composites to cut at"),
    "no partitions": (["flow.py", "--cut", "partition"], "no partitions to cut at"),
    "job is document": (["flow.py", "--job", "wf.cwl"], "--job wf.cwl"),
}


@pytest.mark.parametrize("case", BAD_COMPILES)
def test_what_cannot_be_compiled_leaves_everything_as_it_was(case: str, bad: Path) -> None:
    arguments, message = BAD_COMPILES[case]
    (bad / "wf.cwl").write_text("of an earlier time")
    done = kit.command("d4p2cwl", *arguments, "-o", "wf.cwl", cwd=bad, code=2)
    assert message in said(done)
    assert done.stdout == ""
    assert (bad / "wf.cwl").read_text() == "of an earlier time"
    assert not [*bad.glob(".*"), *bad.glob("*.partial"), *bad.glob("*.yml")]


def test_a_script_is_not_overwritten(script: Path) -> None:
    assert "is a script" in said(kit.command("d4p2cwl", script, "-o", script, code=2))
    assert "is a script" in said(kit.command("d4p2cwl", script, "--job", script, code=2))
    assert script.read_text() == kit.CHAIN


def test_nothing_is_written_where_one_file_cannot_be(script: Path) -> None:
    folder = script.parent
    done = kit.command(
        "d4p2cwl", script, "-o", folder / "wf.cwl", "--job", script / "job.yml", code=2
    )
    assert "cannot be written" in said(done)
    assert [path.name for path in folder.iterdir() if path.name != "__pycache__"] == ["flow.py"]


def test_a_folder_that_is_there_needs_no_slash(script: Path) -> None:
    (script.parent / "out").mkdir()
    kit.command("d4p2cwl", script, "--cut", "Numbers.output", "-o", script.parent / "out")
    names = {path.name for path in (script.parent / "out").iterdir()}
    assert names == {"flow.cwl", "Numbers.cwl", "Double.cwl"}


# --- ends -----------------------------------------------------------------------------------------


def start(script: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a run in a process group of its own, and wait for its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "d4pcwl.cli.dispel4py", arguments[0], str(script), *arguments[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


@pytest.mark.parametrize("how", [("simple",), ("multi", "-n", "3")], ids=" ".join)
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interrupt_ends_everything(
    number: signal.Signals, code: int, word: str, how: tuple[str, ...], tmp_path: Path
) -> None:
    text = kit.CHAIN.replace("numbers, double = Numbers()", "numbers, double = Endless()")
    text = text.replace("\nnumbers, double", f"{ENDLESS}\n\nnumbers, double")
    script = kit.write_script(tmp_path, text)
    results = tmp_path / "r.jsonl"
    process = start(script, *how, "--results", str(results))
    try:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as the terminal does
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=100)
        assert process.returncode == code
        assert f"dispel4py: {word}" in errors
        assert "Traceback" not in errors
        has_ended_with_all(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert Path(f"{results}.partial").exists()
    assert not results.exists()


@pytest.mark.parametrize(
    ("name", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")]
)
def test_an_interrupt_where_none_can_be_raised_comes_again(
    name: str, code: int, word: str, tmp_path: Path
) -> None:
    """Python drops what is raised in a destructor, and around a fork."""
    text = kit.CHAIN.replace("numbers, double = Numbers()", "numbers, double = Endless()")
    asks = f"""
class Asks:
    def __del__(self):
        import os, signal
        os.kill(os.getpid(), signal.{name})
        for _ in range(100):
            pass
"""
    endless = ENDLESS.replace("        number = 0", "        number = 0\n        Asks()")
    script = kit.write_script(
        tmp_path, text.replace("\nnumbers, double", f"{asks}{endless}\n\nnumbers, double")
    )
    process = start(script, "simple")
    try:
        _, errors = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == code
    assert f"dispel4py: {word}" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("how", [("simple",), ("multi", "-n", "2")], ids=" ".join)
def test_a_reader_that_goes_ends_the_run_without_a_complaint(
    how: tuple[str, ...], tmp_path: Path
) -> None:
    text = kit.CHAIN.replace("numbers, double = Numbers()", "numbers, double = Endless()")
    text = text.replace("\nnumbers, double", f"{ENDLESS}\n\nnumbers, double")
    text = text.replace("return 2 * data", "print('line', data, flush=True)")
    process = start(kit.write_script(tmp_path, text), *how)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.wait(timeout=100)
        assert process.returncode == 141
        assert "Traceback" not in process.stderr.read()
        has_ended_with_all(process.pid)
        process.stderr.close()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_compiled_text_may_go_to_a_reader_that_leaves(script: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "d4pcwl.cli.d4p2cwl", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(100) == 141
    assert errors == ""


def test_a_small_run_imports_little(tmp_path: Path) -> None:
    """Start-up counts where a workflow engine runs thousands of steps."""
    (tmp_path / "script.py").write_text(
        "from dispel4py.base import ConsumerPE, ProducerPE\n"
        "from dispel4py.workflow_graph import WorkflowGraph\n"
        "class One(ProducerPE):\n"
        "    def _process(self, inputs):\n"
        "        return 1\n"
        "class Last(ConsumerPE):\n"
        "    def _process(self, item):\n"
        "        self.item = item\n"
        "graph = WorkflowGraph()\n"
        "graph.connect(One(), 'output', Last(), 'input')\n"
    )
    code = (
        "import re, sys\n"
        "before = set(sys.modules)\n"
        "from d4pcwl.cli.dispel4py import main\n"
        "assert main(['simple', 'script.py']) == 0\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(ran.stdout.split())
    assert "d4pcwl.runtime.engine.worker" in loaded
    heavy = (
        "hashlib json networkx numpy pickle ruamel.yaml shutil subprocess tempfile threading uuid"
    )
    ours = "cwl.compile runtime.stage streams.json_lines workflow.state workflow.texts"
    assert loaded.isdisjoint([*heavy.split(), *(f"d4pcwl.{name}" for name in ours.split())])
