"""The services that the tests of engines start leave nothing behind, also when a test fails."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import engine_kit
import pytest


@contextmanager
def docker() -> Iterator[Path]:
    with engine_kit.docker() as where:
        if not where:
            pytest.skip("a docker daemon is reachable, so none is started")
        yield Path(where["DOCKER_HOST"].removeprefix("unix://")).parent


@contextmanager
def ssh() -> Iterator[Path]:
    with engine_kit.ssh_machines(2, "/usr/bin:/bin") as machines:
        for node in machines.nodes:
            address, _, port = node.partition(":")
            with socket.create_connection((address, int(port))) as connection:
                assert connection.recv(4) == b"SSH-"
        yield machines.key.parent


@contextmanager
def slurm() -> Iterator[Path]:
    with engine_kit.slurm() as where:
        # A job that nobody waits for.
        sbatch = ["sbatch", "--output=/dev/null", "--wrap", "sleep 1000"]
        subprocess.run(sbatch, env=engine_kit.environment(where), check=True)
        yield Path(where["SLURM_CONF"]).parent


class FailureError(Exception):
    """What a test raises."""


@pytest.mark.parametrize("service", [docker, ssh, slurm])
def test_a_service_leaves_nothing_behind(
    service: Callable[[], AbstractContextManager[Path]],
) -> None:
    folders: list[Path] = []

    def fail() -> None:
        with service() as folder:
            folders.append(folder)
            assert engine_kit.processes_of(folder)
            raise FailureError

    with pytest.raises(FailureError):
        fail()
    (folder,) = folders
    assert not folder.exists()
    assert engine_kit.processes_of(folder) == []
    assert str(folder) not in Path("/proc/mounts").read_text()
