"""``d4pcwl run|compile|import|cwl|stream|graph|library|…``: every command under one name."""

from __future__ import annotations

import os
from importlib import import_module

from d4pcwl.cli.common import given, guarded, version

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    from collections.abc import Sequence


_COMMANDS = {
    "run": ("dispel4py", "run a script's graph (the command dispel4py)"),
    "compile": ("d4p2cwl", "compile a script's graph to CWL (the command d4p2cwl)"),
    "import": ("cwl2d4p", "make a script from a CWL document (the command cwl2d4p)"),
    "cwl": ("runner", "run a CWL document (the command d4pcwl-runner)"),
}
"""The commands that have names of their own: their modules, and what they do."""

_OTHERS = (
    "stream", "graph", "library", "trace", "lineage", "rerun", "crate", "top", "predict",
    "completion",
)  # fmt: skip
"""The modules of the others, which are called so."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = given(argv)
    if arguments and arguments[0] in _COMMANDS:
        if "_ARGCOMPLETE" in os.environ:
            from d4pcwl.cli import completion

            completion.skip_word()
        command = import_module(f"d4pcwl.cli.{_COMMANDS[arguments[0]][0]}")
        code: int = command.main(arguments[1:])
        return code
    return guarded("d4pcwl", lambda: _other(arguments), debug="--debug" in arguments)


def _other(arguments: list[str]) -> int:
    from d4pcwl.cli.parser import Parser

    parser = Parser(prog="d4pcwl", description="The bridge between dispel4py and CWL.")
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (_, told) in _COMMANDS.items():
        commands.add_parser(name, help=told, add_help=False)
    for name in _OTHERS:
        import_module(f"d4pcwl.cli.{name}").add_parser(commands)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code
