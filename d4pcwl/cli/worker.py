"""``dispel4py worker``: take part in a run on a Redis server, from this host or another."""

from __future__ import annotations

import sys

from d4pcwl.cli.common import (
    check_processes,
    end_if_asked,
    given,
    guarded,
    say,
    say_nothing,
    version,
)

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code.

    :param argv: the arguments after ``dispel4py worker``
    """
    arguments = given(argv)
    debug = "--debug" in arguments
    return guarded("dispel4py worker", lambda: _run(_parse(arguments)), debug=debug)


def _parse(arguments: list[str]) -> argparse.Namespace:
    from d4pcwl.cli.parser import Parser
    from d4pcwl.runtime.options import ServerOptions, add_options

    parser = Parser(
        prog="dispel4py worker",
        description="Join a run of dyn_redis, dyn_auto_redis or hybrid_redis, and take work from "
        "its pool until the run ends. dispel4py MAPPING -v shows the id of the run and its "
        "server. Data from the server is unpickled, which can run code: join only servers "
        "that you trust.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version())
    parser.add_argument(
        "script",
        metavar="SCRIPT",
        nargs="?",
        help="the script of the run, if its path on this host is different; SCRIPT:NAME is the "
        "same as SCRIPT -a NAME",
    )
    parser.add_argument(
        "-a", "--attr", metavar="NAME", help="the graph to use, if there are several"
    )
    parser.add_argument("--run", required=True, metavar="ID", help="id of the run to join")
    parser.add_argument(
        "-n",
        "--num",
        type=int,
        metavar="PROCESSES",
        help="worker processes (default: the usable cores)",
    )
    add_options(parser, ServerOptions)
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the workers do")
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    import json

    from d4pcwl.errors import UsageError
    from d4pcwl.runtime.engine.plan import usable_cores
    from d4pcwl.runtime.options import ServerOptions, parsed_options
    from d4pcwl.runtime.redis.client import Client
    from d4pcwl.runtime.redis.joining import describe_run, join
    from d4pcwl.runtime.redis.server import named_server
    from d4pcwl.workflow.load import load

    check_processes(options.num)
    address = named_server(parsed_options(options, ServerOptions))
    if address is None:
        raise UsageError("name the run's Redis server: --redis-url URL, or -ri HOST")
    client = Client(address)
    try:
        told = describe_run(client, options.run)
    finally:
        client.close()
    script = options.script or told["script"]
    if not script:
        raise UsageError(f"run '{options.run}' does not say which script it runs; give SCRIPT")
    attr = options.attr or (None if options.script else told["attr"] or None)
    graph = load(script, attr, json.loads(told["parameters"])).flat()
    end_if_asked()
    number = options.num or usable_cores()
    join(address, options.run, graph, told, number, say if options.verbose else say_nothing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
