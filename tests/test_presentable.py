"""What is shown on terminals: no control characters of strangers, and no passwords."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cwl_kit import HEAD, command, write_script

from d4pcwl.errors import UsageError, presentable
from d4pcwl.runtime.redis.client import Address, parse_url
from d4pcwl.runtime.redis.server import OwnServer
from d4pcwl.runtime.static.zmq_sockets import Sockets
from d4pcwl.streams.output_file import OutputFile
from d4pcwl.streams.writer import StreamWriter

ORDERS = "\x1b]0;title\x07\x1b[31m\x9b2J\r\u202e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc é", "a\tb\nc é"),
        ("\x1b[2J\x7f\x9b\r\0", r"\x1b[2J\x7f\x9b\r\x00"),
        ("\u202etxt", r"\u202etxt"),
        (
            "run --redis-url redis://me:secret@host:1/0 'x'",
            "run --redis-url redis://***@host:1/0 'x'",
        ),
        ("rediss://:secret@host", "rediss://***@host"),
        ("https://host/a:b@c mailto:me@host", "https://host/a:b@c mailto:me@host"),
    ],
)
def test_text(text: str, shown: str) -> None:
    assert presentable(text) == shown


def test_names_of_strangers_give_terminals_no_orders(tmp_path: Path) -> None:
    fails = (
        HEAD
        + f"""
class Odd(ProducerPE):
    def _process(self, inputs):
        return 1 / 0

odd = Odd()
odd.name = {ORDERS!r}
graph = WorkflowGraph()
graph.add(odd)
"""
    )
    script = write_script(tmp_path, fails, f"flow{ORDERS}.py")
    (tmp_path / "results").mkdir()
    out = tmp_path / "results" / f"r{ORDERS}.jsonl"
    for line in (
        ("dispel4py", "simple", script, "--results", out),
        ("dispel4py", "multi", script, "-v", "-n", 2, "--debug"),
        ("dispel4py", "simple", f"{script}x"),
        ("d4p2cwl", script, "--cut", ORDERS),
        ("d4pcwl", "graph", script),
        ("d4pcwl-runner", f"{script}.cwl"),
        ("cwl2d4p", f"{script}.cwl"),
    ):
        done = command(*line, code=None, cwd=tmp_path)
        assert not set(ORDERS) & {*done.stdout, *done.stderr} & {*"\x1b\x07\x9b\r\u202e"}, line
    assert "[31m" in command("d4pcwl", "graph", script).stdout
    file = tmp_path / f"s{ORDERS}"
    with StreamWriter(file, [(ORDERS, ORDERS)], metadata={"odd": ORDERS}) as writer:
        writer.write(0, ORDERS)
    for verb in ("info", "cat", "head"):
        done = command("d4pcwl", "stream", verb, file)
        assert not {*done.stdout, *done.stderr} & {*"\x1b\x07\x9b\r\u202e"}


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:secret@[::1",
        "redis://me:secret@host:port",
        "redis://me:sec/ret-secret@host:1",
        "redis://me:secret@host/secret",
        "redis://secret@host:x",
        "http://me:secret@host",
        "redis://:secret@",
        "//me:secret@host",
    ],
)
def test_a_wrong_url_is_told_of_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_url(url)
    told = str(raised.value)
    assert "Redis URL" in told
    assert "secret" not in told.replace("host/secret", "")
    assert "***@" in told


def test_addresses_do_not_show_passwords() -> None:
    address = Address("redis://:secret@host", username="me", password="secret")
    assert "secret" not in f"{address} {address!r}"


def test_a_run_does_not_tell_its_password(tmp_path: Path) -> None:
    text = HEAD + "\nclass One(ProducerPE):\n    def _process(self, inputs):\n        return 1\n"
    script = write_script(tmp_path, text + "\ngraph = WorkflowGraph()\ngraph.add(One())\n")
    url = "redis://me:secret@127.0.0.1:1/0"
    done = command("dispel4py", "redis", script, "-v", "--debug", "--redis-url", url, code=1)
    assert "127.0.0.1:1" in done.stderr
    assert "secret" not in done.stderr
    document = tmp_path / "flow.cwl"
    command("d4p2cwl", "-q", script, "--mapping", "redis", "-o", document, env={"REDIS_URL": url})
    assert "secret" not in document.read_text()
    outdir = ("--outdir", tmp_path / "out")
    done = command("d4pcwl-runner", *outdir, document, "--redis_url", url, code=1)
    assert "redis://***@127.0.0.1:1/0" in done.stderr
    assert "secret" not in done.stderr


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_others_can_look_into_nothing_of_ours(tmp_path: Path) -> None:
    server = OwnServer()
    try:
        server.wait()
        assert mode(server.folder) == 0o700
        assert mode(server.path) == 0o700
    finally:
        server.stop()
    transport = Sockets([(0, 1)], tcp=False)
    try:
        (address,) = transport._addresses.values()
        assert mode(Path(address.removeprefix("ipc://")).parent) == 0o700
    finally:
        transport.close()


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        output = OutputFile(tmp_path / "r")
        assert mode(output.place) == 0o600
        output.finish()
        assert mode(tmp_path / "r") == 0o600
    finally:
        os.umask(before)
