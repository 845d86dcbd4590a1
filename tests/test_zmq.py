"""What is zmq_multi's own: its sockets. The rest is tested for all mappings."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import (
    FaultyPE,
    FaultySource,
    Gate,
    Identity,
    Mapping,
    Plus,
    Source,
    Total,
    chain,
    children,
    nothing_left,
)

import d4pcwl
from d4pcwl import IterativePE, ProducerPE
from d4pcwl.cli.dispel4py import main
from d4pcwl.errors import D4pcwlError, WorkerDied
from d4pcwl.runtime.engine.marks import RESULTS
from d4pcwl.runtime.local.processes import release, start
from d4pcwl.runtime.transport import frames

pytest.importorskip("zmq", reason="pyzmq is missing: pip install 'd4pcwl[zmq]'")

SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from mapping_kit import *
graph = chain(Source(range(20_000)), Plus(), Plus(), Total())
"""


@pytest.mark.parametrize("options", [[], ["--tcp"]])
def test_options(
    tmp_path: Path,
    options: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["zmq_multi", str(path), "-n", "4", *options]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr().out == '{"pe": "Total", "port": "output", "data": 200030000}\n'
    assert list((tmp_path / "tmp").iterdir()) == []


def test_frames_of_others_are_not_read() -> None:
    """Whoever finds the port of a run over TCP has not got its secret."""
    import zmq

    from d4pcwl.runtime.static.zmq_sockets import Sockets

    sockets = Sockets([(0, 1)], tcp=True)
    _, inbox = sockets.enter(1)
    address = inbox._pull.getsockopt_string(zmq.LAST_ENDPOINT)
    with zmq.Context() as context, context.socket(zmq.PUSH) as stranger:
        stranger.connect(address)
        for parts in ([b"x" * 20, b"cos\nsystem\n"], [b"alone"], [b"", b"", b""]):
            stranger.send_multipart(parts)
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert [message for _ in range(6) for message in inbox.receive(0.05)] == []
    sockets.close()


@pytest.mark.parametrize("over", [False, True])
def test_a_worker_stays_until_what_it_sent_is_received(over: bool) -> None:
    """Where the run is over, what the parent gets is enough."""
    from d4pcwl.runtime.static.zmq_sockets import Sockets

    with nothing_left():
        sockets = Sockets([(0, 1), (0, RESULTS)], tcp=False)
        begin, began = os.pipe()

        def send() -> None:
            signal.alarm(60)  # it ends, whatever goes wrong
            senders, _ = sockets.enter(0)
            for receiver in (1, RESULTS) if over else (RESULTS,):
                senders[receiver].send(*frames.pickled(("items", receiver)))
            os.write(began, b".")
            sockets.close(over=over)

        worker = start(send)
        os.read(begin, 1)
        assert worker.is_alive()
        _, inbox = sockets.enter(RESULTS)
        assert list(inbox.receive(60)) == [(0, ("items", RESULTS))]
        worker.join(60)
        assert worker.exitcode == 0  # though the parent has not closed, and nobody is number 1
        sockets.close()
        for fd in (begin, began):
            os.close(fd)
        release(worker)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_worker_that_is_killed(place: int) -> None:
    pes: list[Any] = [Source(range(20_000)), Plus(), Total()]
    pes[place] = FaultySource("die", 5) if place == 0 else FaultyPE("die", 10)
    with nothing_left(), pytest.raises(WorkerDied, match="killed by signal 9"):
        Mapping("zmq_multi", 3).run(chain(*pes))


def test_a_slow_sender_is_prompt(gate: Gate) -> None:
    class Waits(ProducerPE):
        def _process(self, inputs: Any) -> None:
            self.write("output", 1)
            gate.wait()

    class Opens(IterativePE):
        def _process(self, data: Any) -> Any:
            gate.open()
            return data

    assert Mapping("zmq_multi", 2).items(chain(Waits(), Opens())) == [1]


PARENT = """
{script}
class Ready(IterativePE):
    def _process(self, data):
        if data == 0:
            sys.stdout.write("ready\\n")
            sys.stdout.flush()
        return data

graph = chain(Source(range(10**9)), Ready(), FaultyPE("stall", 5000), Identity())
d4pcwl.run(graph, mapping="zmq_multi", processes=3)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(how: signal.Signals) -> None:
    end, held = os.pipe()
    script = textwrap.dedent(PARENT.format(script=SCRIPT))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        pass_fds=[held], text=True,
    ) as parent:  # fmt: skip
        os.close(held)
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        workers = children(parent.pid)
        parent.send_signal(how)
        gone = bool(select.select([end], [], [], 100)[0])
        for pid in [] if gone else workers:
            os.kill(pid, signal.SIGKILL)
        parent.communicate()
    os.close(end)
    assert gone, "workers outlive their parent"


def test_pyzmq_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zmq", None)
    with pytest.raises(D4pcwlError, match=r"pip install 'd4pcwl\[zmq\]'"):
        d4pcwl.run(chain(Source([1]), Identity()), mapping="zmq_multi")
