"""``d4pcwl library``: the PEs that come with d4pcwl."""

from __future__ import annotations

import argparse
import inspect
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from d4pcwl.cli.standard import require_output
from d4pcwl.errors import UsageError, nearest

if TYPE_CHECKING:
    from typing import Any

_PACKAGES = ("d4pcwl.library", "d4pcwl.seismology")


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``library``; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "library",
        help="list the PEs that come with d4pcwl",
        description="List the PEs that come with d4pcwl, or describe one of them.",
    )
    parser.add_argument(
        "pe",
        nargs="?",
        metavar="PE",
        help="describe this PE: its parameters, items, ports and state",
    )
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code.

    :raises UsageError: there is no such PE
    """
    require_output("the list is printed there")
    packages = [import_module(name) for name in _PACKAGES]
    known = {name: getattr(package, name) for package in packages for name in package.__all__}
    if options.pe is not None:
        if options.pe not in known:
            raise UsageError(f"there is no PE {options.pe}{nearest(options.pe, known)}")
        cls = known[options.pe]
        signature = inspect.signature(cls).parameters.values()
        bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature]
        sys.stdout.write(f"{cls.__name__}{inspect.Signature(bare)}\n\n{inspect.getdoc(cls)}\n")
        return 0
    width = max(map(len, known))
    for package in packages:
        sys.stdout.write(f"from {package.__name__} import …\n")
        for name in package.__all__:
            first = (inspect.getdoc(known[name]) or "").partition("\n\n")[0].replace("\n", " ")
            sys.stdout.write(f"  {name:{width}}  {first}\n")
    return 0
