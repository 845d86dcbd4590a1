"""How the commands read their arguments."""

from __future__ import annotations

import argparse
from typing import NoReturn

from d4pcwl.errors import nearest

_UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """A parser that tells of wrong usage in two lines: what is wrong, and the usage in short."""

    def error(self, message: str) -> NoReturn:
        """See ``argparse``.

        :raises SystemExit: always, with 2
        """
        option = message.removeprefix(_UNKNOWN).split(maxsplit=1)[0].partition("=")[0]
        if message.startswith(_UNKNOWN) and option.startswith("-"):
            close = nearest(option, self._option_string_actions)
            message += close if close.startswith("; did") else ""
        usage = self.usage or " ".join(
            ["%(prog)s [options]"]
            + [str(action.metavar or action.dest) for action in self._get_positional_actions()]
        )
        usage = " ".join((usage % {"prog": self.prog}).split())
        more = "" if "--help" in usage else "; --help lists all"
        self.exit(2, f"{self.prog}: error: {message}\nusage: {usage}{more}\n")
