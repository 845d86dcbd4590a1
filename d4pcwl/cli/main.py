"""``d4pcwl run|compile|import|cwl|stream|graph|library|…``: every command under one name."""

from __future__ import annotations

import os
from importlib import import_module

from d4pcwl.cli.common import given, guarded, version

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    from collections.abc import Sequence


_COMMANDS = {"run": "dispel4py", "compile": "d4p2cwl", "import": "cwl2d4p", "cwl": "runner"}
"""The commands that have names of their own, by their modules."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = given(argv)
    if arguments and arguments[0] in _COMMANDS:
        if "_ARGCOMPLETE" in os.environ:
            from d4pcwl.cli import completion

            completion.skip_word()
        command = import_module(f"d4pcwl.cli.{_COMMANDS[arguments[0]]}")
        code: int = command.main(arguments[1:])
        return code
    return guarded("d4pcwl", lambda: _other(arguments), debug="--debug" in arguments)


def _other(arguments: list[str]) -> int:
    from d4pcwl.cli import (
        completion,
        crate,
        graph,
        library,
        lineage,
        predict,
        rerun,
        stream,
        top,
        trace,
    )
    from d4pcwl.cli.parser import Parser

    parser = Parser(prog="d4pcwl", description="The bridge between dispel4py and CWL.")
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser("run", help="run a script's graph (the command dispel4py)", add_help=False)
    commands.add_parser(
        "compile", help="compile a script's graph to CWL (the command d4p2cwl)", add_help=False
    )
    commands.add_parser(
        "import", help="make a script from a CWL document (the command cwl2d4p)", add_help=False
    )
    commands.add_parser(
        "cwl", help="run a CWL document (the command d4pcwl-runner)", add_help=False
    )
    stream.add_parser(commands)
    graph.add_parser(commands)
    library.add_parser(commands)
    trace.add_parser(commands)
    lineage.add_parser(commands)
    rerun.add_parser(commands)
    crate.add_parser(commands)
    top.add_parser(commands)
    predict.add_parser(commands)
    completion.add_parser(commands)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code
