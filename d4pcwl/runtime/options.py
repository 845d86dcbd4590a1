"""Options that several mappings have, under upstream's names."""

from __future__ import annotations

import argparse


def add_processes(parser: argparse.ArgumentParser, what: str = "number of processes") -> None:
    """``-n``.

    :param what: it is, for the help
    """
    parser.add_argument(
        "-n", "--num", type=int, metavar="PROCESSES", help=f"{what} (default: the usable cores)"
    )


def add_static_options(parser: argparse.ArgumentParser) -> None:
    """``-n`` and ``-s``, of the mappings whose instances stay in one process."""
    parser.add_argument(
        "-n",
        "--num",
        type=int,
        metavar="PROCESSES",
        help="number of processes (default: the usable cores); any number will do: PEs share "
        "processes, or are replicated, to fit",
    )
    parser.add_argument(
        "-s",
        "--simple",
        action="store_true",
        help="fuse PEs into the graph's partitions, or into roots and the rest",
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """``-ri`` and ``-rp``, and ``--redis-url``; ``runtime/redis/server.py`` reads them."""
    parser.add_argument(
        "-ri",
        "--redis-ip",
        metavar="HOST",
        help="the Redis server's host (default: REDIS_URL or REDIS_HOST; without any, a server "
        "of its own is started)",
    )
    parser.add_argument(
        "-rp",
        "--redis-port",
        type=int,
        metavar="PORT",
        help="its port (default: REDIS_PORT, else 6379)",
    )
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        help="redis://HOST:PORT/DATABASE, rediss://…, or unix:///PATH; name and password may come "
        "from REDIS_USERNAME and REDIS_PASSWORD, where other users cannot read them",
    )
