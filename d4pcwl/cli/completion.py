"""``d4pcwl completion SHELL``: code that makes a shell complete the arguments of our commands.

The shell calls the command itself (``argcomplete``), which answers with the options of its parser,
also those of the mapping that is named.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

COMMANDS = ("dispel4py", "d4p2cwl", "cwl2d4p", "d4pcwl-runner", "d4pcwl")


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``completion``; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "completion",
        help="print code that makes a shell complete the commands",
        description='Print code that makes a shell complete all commands. Put eval "$(d4pcwl '
        'completion bash)" into ~/.bashrc, the same with zsh into ~/.zshrc, or d4pcwl '
        "completion fish | source into config.fish.",
    )
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print it; return the exit code.

    :raises ModuleNotFoundError: argcomplete is not installed
    """
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(COMMANDS, shell=options.shell))
    return 0


def words() -> list[str]:
    """The arguments before the word to complete."""
    return _line()[3][1:]


def wants_option() -> bool:
    """Whether a shell asks how to complete a word that begins as options do."""
    return "_ARGCOMPLETE" in os.environ and _line()[1].startswith("-")


def _line() -> tuple[str, str, str, list[str], int | None]:
    from argcomplete.lexers import split_line

    line: tuple[str, str, str, list[str], int | None]
    line = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    return line


def skip_word() -> None:
    """Hide the first argument from the next parser."""
    if "_ARGCOMPLETE" in os.environ:
        os.environ["_ARGCOMPLETE"] = str(int(os.environ["_ARGCOMPLETE"]) + 1)


def answer(parser: argparse.ArgumentParser) -> None:
    """Print the possible completions for the shell, and end."""
    import argcomplete

    argcomplete.autocomplete(parser)
