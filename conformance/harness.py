"""The command ``conformance/run``: arguments, and what is done with the verdicts."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from cases import ENGINES, FORMS, Case, CaseError, read_cases
from crossing import Crossing, say
from runs import Bench, RunFailure
from selection import QUICK, choose
from table import Report, versions, write_tables
from verdict import Kind

from d4pcwl.runtime.mappings.registry import BUILT_IN

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, 1 where a cell fails, 2 for wrong usage, 130."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    options = _options(argv)
    try:
        cases = read_cases(options.only or (QUICK if options.quick else ()))
        report = _crossed(cases, options)
    except (CaseError, RunFailure) as error:
        say(f"conformance/run: {error}")
        return 2
    except KeyboardInterrupt:
        say("conformance/run: interrupted")
        return 130
    if options.output is not None:
        write_tables(report, options.output)
    sys.stdout.write(report.markdown())
    return 1 if any(each.kind is Kind.FAIL for each in report.verdicts.values()) else 0


def _crossed(cases: Sequence[Case], options: argparse.Namespace) -> Report:
    cells = choose(
        [case.name for case in cases],
        mappings=options.mappings,
        engines=options.engines,
        forms=options.forms,
        full=options.full,
        quick=options.quick,
        docker=bool(options.docker),
    )
    with ExitStack() as stack:
        folder = options.work
        if folder is None:
            scratch = tempfile.TemporaryDirectory(prefix="d4p-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(scratch))
        crossing = Crossing(Bench(folder.resolve()), cases, options.jobs, options.docker)
        try:
            verdicts = crossing.run(cells)
        except BaseException:
            crossing.stop()
            raise
        said = versions(crossing.engines)
    return Report({case.name: case for case in cases}, verdicts, said)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="conformance/run",
        description="Run the same workflows natively and as CWL, and compare all results with "
        "those of the simple mapping.",
        epilog="The table goes to standard output; where nothing is left out, and with -o, to "
        "table.md and table.html as well. Exit code 1: a cell fails.",
    )

    def names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
        def parse(text: str) -> tuple[str, ...]:
            chosen = tuple(filter(None, text.split(",")))
            unknown = [name for name in chosen if name not in known]
            if unknown or not chosen:
                raise argparse.ArgumentTypeError(
                    f"no {', '.join(unknown) or 'name'}; there are {', '.join(known)}"
                )
            return chosen

        return parse

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError("at least 1")
        return int(text)

    mappings = BUILT_IN
    add = parser.add_argument
    add("--only", metavar="NAME,…", type=lambda text: tuple(filter(None, text.split(","))))
    add("--mappings", metavar="NAME,…", type=names(mappings), default=mappings)
    add("--engines", metavar="NAME,…", type=names(ENGINES), default=ENGINES)
    add("--forms", metavar="FORM,…", type=names(FORMS), default=FORMS, help=", ".join(FORMS))
    add("-j", "--jobs", metavar="N", type=number, default=2, help="how many at a time (2)")
    add("--quick", action="store_true", help="a selection that takes less than a minute")
    add("--full", action="store_true", help="every mapping on every engine, in every form")
    add("-o", "--output", metavar="DIR", type=Path, help="where the tables are written")
    add("--work", metavar="DIR", type=Path, help="a new folder in which all runs are kept")
    add("--docker", metavar="IMAGE", default="", help="in containers of this image, too")
    options = parser.parse_args(argv)
    chosen = ("only", "mappings", "engines", "forms", "quick")
    if options.output is None and all(
        getattr(options, name) == parser.get_default(name) for name in chosen
    ):
        options.output = HERE
    if options.quick and options.full:
        parser.error("--quick and --full exclude each other")
    if options.work is not None and options.work.exists():
        parser.error(f"--work {options.work}: is there already")
    return options
