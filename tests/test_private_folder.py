"""Folders of a run go with it, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import HAS_REDIS
from mapping_kit import nothing_left, wait_until

from d4pcwl.runtime.local.private_folder import PrivateFolder
from d4pcwl.runtime.redis.server import OwnServer, _shut_down

SCRIPT = """
import time
from d4pcwl import ProducerPE, WorkflowGraph

class Sleeps(ProducerPE):
    def _process(self, inputs):
        time.sleep(60)

graph = WorkflowGraph()
graph.add(Sleeps())
"""


def test_it_is_removed(tmp_path: Path) -> None:
    with nothing_left(tmp_path):
        folder = PrivateFolder("test-", str(tmp_path))
        assert folder.path.stat().st_mode & 0o777 == 0o700
        (folder.path / "file").touch()
        folder.remove()
        folder.remove()


def test_a_folder_that_cannot_be_made_leaves_no_process(tmp_path: Path) -> None:
    with nothing_left(tmp_path), pytest.raises(FileNotFoundError):
        PrivateFolder("test-", str(tmp_path / "none"))


@pytest.mark.skipif(not HAS_REDIS, reason="the package that brings a server is missing")
def test_a_server_whose_owner_has_gone_is_shut_down() -> None:
    """Where the system does not see to it."""
    own = OwnServer()
    own.wait()
    _shut_down(own.folder)
    own._process.wait(timeout=60)
    own.stop()


def test_the_owner_and_its_group_are_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from d4pcwl.runtime.local.private_folder import PrivateFolder\n"
        "end = lambda path: (path / 'file').rename(sys.argv[1] + '/end')\n"
        "folder = PrivateFolder('test-', sys.argv[1], end)\n"
        "(folder.path / 'file').touch()\n"
        "print(flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, process_group=0
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"\n"
        assert os.listdir(tmp_path)
        os.killpg(owner.pid, 9)
    wait_until(lambda: os.listdir(tmp_path) == ["end"])


@pytest.mark.parametrize(
    "name",
    [
        "multi",
        "zmq_multi",
        "dyn_multi",
        *(["redis", "dyn_redis"] if HAS_REDIS else []),
    ],
)
def test_a_parent_that_is_killed_in_its_start_leaves_nothing(tmp_path: Path, name: str) -> None:
    """As soon as it has made a folder or started a process, and a little later."""
    script, temporary, mark = tmp_path / "script.py", tmp_path / "temporary", f"{tmp_path}"
    script.write_text(SCRIPT)
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "TEST_MARK": mark}
    environment.pop("REDIS_URL", None)
    command = [sys.executable, "-m", "d4pcwl", "run", name, str(script), "-n", "2"]

    def marked() -> list[str]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_text(errors="replace"):
                    found.append(folder.name)
            except OSError:  # it has ended, or is somebody else's
                continue
        return found

    for later in (0, 0.05):
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as parent:
            try:
                wait_until(
                    # On a busy machine the run may even be over before somebody looks.
                    lambda: os.listdir(temporary) or len(marked()) > 1 or parent.poll() is not None
                )
                time.sleep(later)
            finally:
                parent.kill()
        wait_until(lambda: not marked() and not os.listdir(temporary))
