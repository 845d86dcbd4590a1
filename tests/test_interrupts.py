"""Ctrl-C and SIGTERM while a command is still loading: our modules, libraries, or the script."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from cwl_kit import HEAD, command, with_commands, write_script
from test_faults import ECHO

SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]

LOADS = """
import os, sys, time

def load():
    sys.stderr.write("loading\\n")
    sys.stderr.flush()
    for _ in range(600):  # a signal just before a sleep is heard after it
        time.sleep(0.1)
"""

WAYS = {
    "as it is": "load()",
    "swallowed": "try:\n    load()\nexcept BaseException:\n    pass",
    "another error": "try:\n    load()\nexcept BaseException:\n    raise ImportError('broken')",
    "in a finalizer": "class Odd:\n    def __del__(self):\n        load()\n\nOdd()",
}

GRAPH = """
class One(ProducerPE):
    def _process(self, inputs):
        return 1

graph = WorkflowGraph()
graph.add(One())
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "how",
    [
        ("dispel4py", "simple", "flow.py"),
        ("dispel4py", "multi", "flow.py", "-n", "2"),
        ("d4p2cwl", "flow.py"),
        ("d4pcwl", "graph", "flow.py"),
    ],
    ids=lambda how: " ".join(how[:2]),
)
@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
def test_while_the_script_is_loaded(
    number: signal.Signals, code: int, word: str, how: tuple[str, ...], way: str, tmp_path: Path
) -> None:
    write_script(tmp_path, f"{LOADS}{WAYS[way]}\n\n{HEAD}{GRAPH}")
    process = subprocess.Popen(
        how,
        cwd=tmp_path,
        env=with_commands(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "loading\n"
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (code, "", f"{how[0]}: {word}\n")


SITE = """
import os, sys

class AtImport:
    '''Sends the signal when a module is looked for.'''
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("AT_MODULE"):
            del os.environ["AT_MODULE"]
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))

sys.meta_path.insert(0, AtImport())
"""


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("dispel4py simple flow.py", "argparse"),
        ("dispel4py simple flow.py", "d4pcwl.errors"),
        ("dispel4py multi flow.py -n 2", "d4pcwl.workflow.flat"),
        ("dispel4py mpi flow.py -n 1", "d4pcwl.runtime.mpi.ranks"),
        ("dispel4py worker --run 1 --redis-ip none", "d4pcwl.runtime.redis.client"),
        ("d4p2cwl flow.py", "argparse"),
        ("d4p2cwl flow.py", "ruamel.yaml"),
        ("cwl2d4p echo.cwl", "d4pcwl.cwl.importing.cwltool.copying"),
        ("d4pcwl-runner --outdir out echo.cwl", "argparse"),
        ("d4pcwl-runner --outdir out echo.cwl", "cwltool.load_tool"),
        ("d4pcwl graph flow.py", "d4pcwl.workflow.draw"),
        ("d4pcwl stream info flow.py", "d4pcwl.streams.reader"),
    ],
)
@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
def test_while_modules_are_loaded(
    number: signal.Signals, code: int, word: str, line: str, module: str, tmp_path: Path
) -> None:
    if " mpi " in line:
        pytest.importorskip("mpi4py")
    write_script(tmp_path, HEAD + GRAPH)
    (tmp_path / "echo.cwl").write_text(ECHO)
    write_script(tmp_path / "site", SITE, "sitecustomize.py")
    environment = {"AT_MODULE": module, "SIGNAL": str(int(number)), "PYTHONPATH": "site"}
    done = command(*line.split(), cwd=tmp_path, env=environment, code=None)
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith(f": {word}\n")
    assert (done.returncode, done.stdout) == (code, "")
    assert not (tmp_path / "out").exists()
