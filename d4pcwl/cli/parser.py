"""How the commands read their arguments."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

from d4pcwl.cli import completion
from d4pcwl.errors import closest

_UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """A parser that reports wrong usage in two lines: what is wrong, and the usage in short."""

    _answered = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See ``argparse``. If a shell asks for completions, they are printed, and the command
        ends."""
        if "_ARGCOMPLETE" in os.environ and not Parser._answered:
            Parser._answered = True  # to answer, arguments are parsed
            completion.answer(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """See ``argparse``.

        :raises SystemExit: always, with 2
        """
        option = message.removeprefix(_UNKNOWN).partition(" ")[0].partition("=")[0]
        if message.startswith(_UNKNOWN) and option.startswith("-"):
            message += closest(option, self._option_string_actions)
        usage = self.usage or " ".join(
            ["%(prog)s [options]"]
            + [str(action.metavar or action.dest) for action in self._get_positional_actions()]
        )
        usage = " ".join((usage % {"prog": self.prog}).split())
        self.exit(2, f"{self.prog}: error: {message}\n{usage_line(usage)}\n")


def usage_line(usage: str) -> str:
    """The line below a message about wrong usage."""
    more = "" if "--help" in usage else "; --help lists all"
    return f"usage: {usage}{more}"
