"""Services that tests of engines need: docker, ssh and slurm, started before and stopped after.

All are private: they have a folder of their own, speak on loopback or on sockets in that folder,
and leave nothing behind. A test that needs what is not installed is skipped, and says which Debian
package would bring it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))

from conformance.engines import (  # noqa: E402
    Engine,
    available,
    checked_outputs,
    missing,
    scratch_folder,
)

_PACKAGES = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "mmdebstrap": "mmdebstrap",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
}
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_SECONDS_TO_START = 120
_SECONDS_TO_STOP = 300


# --- engines --------------------------------------------------------------------------------------


def engine(name: str) -> Engine:
    """An engine, or the test is skipped."""
    if name in missing():
        pytest.skip(missing()[name])
    return available()[name]


def run_script(
    engine: Engine, script: Path, document: Path, job: Path, outdir: Path, **env: object
) -> dict[str, Any]:
    """Run a document by one of the scripts ``SCRIPT DOCUMENT JOB OUTDIR`` of the templates."""
    arguments = [str(path) for path in (script, document, job, outdir)]
    with scratch_folder() as scratch:
        given = {name: str(value) for name, value in env.items()}
        where = engine.with_options(**given)
        return checked_outputs(document, where.execute(arguments, scratch, timeout=100).stdout)


# --- services -------------------------------------------------------------------------------------


def program(name: str) -> str:
    """The path of a program, or the test is skipped."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed; Debian has it in the package {_PACKAGES[name]}")
    return found


@contextmanager
def docker() -> Iterator[dict[str, str]]:
    """A docker daemon: the one that is reachable, or else a private one.

    :returns: the environment variables by which clients find it
    """
    client = program("docker")
    if _succeeds([client, "version"]):
        yield {}
        return
    server = program("dockerd")
    if os.geteuid() != 0:
        pytest.skip("no docker daemon is reachable, and only root can start one")
    with _folder() as folder, ExitStack() as stack:
        # Undone last: what a daemon that was killed has left mounted.
        stack.callback(_unmount_below, folder)
        where = {"DOCKER_HOST": f"unix://{folder}/docker.sock"}
        command = [server, "--data-root", folder / "data", "--exec-root", folder / "exec"]
        command += ["--pidfile", folder / "pid", "--host", where["DOCKER_HOST"]]
        # No bridge and no rules for packets: containers have no network, or that of the machine.
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        try:
            stack.enter_context(
                _daemon(command, folder, lambda: _succeeds([client, "version"], where))
            )
        except _NotStarted as error:
            pytest.skip(f"dockerd cannot be started here: {error}")
        yield where


@dataclass(frozen=True)
class Machines:
    """What is reached by ssh.

    :param nodes: the machines, as ``address:port``
    :param home: a home folder in whose ``.ssh`` the keys of the machines are known
    """

    nodes: tuple[str, ...]
    user: str
    key: Path
    home: Path
    log: Path

    def called(self) -> set[str]:
        """The machines that somebody has connected to."""
        lines = [line for line in self.log.read_text().splitlines() if "Connection from" in line]
        asked = {(words[-5], words[-3]) for words in map(str.split, lines)}
        return {node for node in self.nodes if tuple(node.split(":")) in asked}


@contextmanager
def ssh_machines(number: int, path: str) -> Iterator[Machines]:
    """This machine under several loopback addresses, each to be reached by ssh.

    :param path: the PATH of commands there
    """
    server, keygen = program("sshd"), program("ssh-keygen")
    with _folder() as folder, _privilege_separation():
        home = folder / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        for name in ("host", "key"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
        port = _free_port()
        addresses = [f"127.0.0.{last}" for last in range(1, number + 1)]
        (folder / "sshd.conf").write_text(
            f"Port {port}\n"
            + "".join(f"ListenAddress {address}\n" for address in addresses)
            + f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/key.pub\nPidFile none\n"
            + "StrictModes no\nUsePAM no\nPasswordAuthentication no\nLogLevel VERBOSE\n"
            + f"SetEnv PATH={path}\n"
        )
        host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        known = [f"[{address}]:{port} {host_key}\n" for address in addresses]
        (home / ".ssh" / "known_hosts").write_text("".join(known))
        command = [server, "-D", "-e", "-f", folder / "sshd.conf"]
        with _daemon(command, folder, lambda: _listens(addresses[-1], port)):
            nodes = tuple(f"{address}:{port}" for address in addresses)
            yield Machines(nodes, _user(), folder / "key", home, folder / "sshd.log")


SLURM = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node} CPUs=2 RealMemory=4000
PartitionName=main Nodes=node1 Default=YES MaxTime=INFINITE State=UP
"""
"""A queue ``main`` with one node of two CPUs: this machine."""


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """A slurm queue.

    :returns: the environment variable by which sbatch finds it
    """
    munge, controller, node = program("munged"), program("slurmctld"), program("slurmd")
    with _folder() as folder, ExitStack() as stack:
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o400)
        folder.chmod(0o711)  # munge insists that all can come to its socket
        where = {"SLURM_CONF": str(folder / "slurm.conf")}
        (folder / "slurm.conf").write_text(
            SLURM.format(
                folder=folder,
                user=_user(),
                host=socket.gethostname(),
                controller=_free_port(),
                node=_free_port(),
            )
        )
        command = [munge, "--foreground", "--force", "--num-threads=2"]
        for option, name in [("socket", "munge.socket"), ("key-file", "key")]:
            command.append(f"--{option}={folder}/{name}")
        for option in ("pid", "log", "seed"):
            command.append(f"--{option}-file={folder}/munge.{option}")
        ready = (folder / "munge.socket").exists
        stack.enter_context(_daemon(command, folder, ready))
        ready_command = ["sinfo", "--noheader", "--format=%T"]
        command = [controller, "-D", "-i"]
        asks = _daemon(command, folder, lambda: _succeeds(ready_command, where), where)
        stack.enter_context(asks)
        command = [node, "-D", "-N", "node1"]
        idle = _daemon(command, folder, lambda: _says("idle", ready_command, where), where)
        stack.enter_context(idle)
        try:
            yield where
        finally:
            _succeeds(["scancel", "--full", f"--user={_user()}"], where)
            _wait(lambda: _says("", ["squeue", "--noheader"], where))


def processes_of(folder: Path) -> list[bytes]:
    """The commands of processes that name a folder in their arguments or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            said = command + (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended, or is another's
        if bytes(folder) in said:
            found.append(command)
    return found


# --- daemons --------------------------------------------------------------------------------------


class _NotStarted(Exception):
    """A daemon is not ready; with the last that it said."""


@contextmanager
def _daemon(
    command: list[Any],
    folder: Path,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a daemon in the foreground, from when it is ready; what it says is in ``NAME.log``."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        _wait(lambda: ready() or process.poll() is not None)
        if process.poll() is not None or not ready():
            raise _NotStarted(" ".join(log.read_text(errors="replace").splitlines()[-3:]))
        yield
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS_TO_STOP)
        finally:
            # What it has started belongs to its session.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.05)


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment, with the folders of servers on the PATH, and ``env``."""
    return {**os.environ, "PATH": _PATH, **(env or {})}


def _says(text: str, command: list[str], env: Mapping[str, str]) -> bool:
    done = subprocess.run(command, env=environment(env), capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == text


def _succeeds(command: list[str], env: Mapping[str, str] | None = None) -> bool:
    return subprocess.run(command, env=environment(env), capture_output=True).returncode == 0


def _listens(address: str, port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex((address, port)) == 0


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder whose path is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="d4p-", dir="/tmp") as folder:
        yield Path(folder).resolve()


@contextmanager
def _privilege_separation() -> Iterator[None]:
    """The folder that Debian's sshd insists on when root runs it."""
    folder = Path("/run/sshd")
    if folder.exists() or os.geteuid() != 0:
        yield
        return
    folder.mkdir(mode=0o755)
    try:
        yield
    finally:
        folder.rmdir()


def _unmount_below(folder: Path) -> None:
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed(places):
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", place], check=False)
