"""``d4pcwl trace summary|report|compare|export TRACE``: what a run did, for people and programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from d4pcwl.cli import suggest
from d4pcwl.cli.common import write_files
from d4pcwl.cli.standard import give_up_output, require_output
from d4pcwl.errors import UsageError, presentable

if TYPE_CHECKING:
    from typing import Any


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``trace`` and its subcommands; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "trace",
        help="look into what a run did",
        description="Look into what a run did, by the file that its option --trace has written.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(name: str, work: Callable[[argparse.Namespace], str], **told: Any) -> Any:
        verb = verbs.add_parser(name, **told)
        verb.add_argument("trace", metavar="TRACE", help="a file that --trace has written")
        verb.set_defaults(run=run, work=work)
        return verb

    summary = add(
        "summary", _summary, help="print the bottleneck of the run, and a table of the PEs"
    )
    suggest.add_options(summary)
    report = add(
        "report",
        _report,
        help="make a page for a browser",
        description="Make one HTML page that needs no other file: the bottleneck, a timeline, "
        "tables, the graph. For two traces, it also shows what changed.",
    )
    report.add_argument("other", metavar="OTHER", nargs="?", help="the trace of a second run")
    suggest.add_options(report)
    compare = add("compare", _compare, help="print what changed from one run to another")
    compare.add_argument("other", metavar="OTHER", help="the trace of the second run")
    export = add(
        "export",
        _export,
        help="write a file for other programs",
        description="Write a file for other programs: --chrome for Perfetto and chrome://tracing, "
        "--otlp for collectors of OpenTelemetry.",
    )
    forms = export.add_mutually_exclusive_group(required=True)
    for form, what in (("chrome", "Chrome's trace events"), ("otlp", "OpenTelemetry's spans")):
        forms.add_argument(
            f"--{form}", dest="form", action="store_const", const=form, help=f"{what}, as JSON"
        )
    for verb in (report, export):
        where = "the file; without it, on standard output"
        verb.add_argument("-o", "--output", type=Path, metavar="FILE", help=where)
    for verb in verbs.choices.values():
        verb.add_argument("--debug", action="store_true", help="tracebacks")


def run(options: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code.

    :raises D4pcwlError: a file is not a trace, or what is asked for cannot be written
    """
    output: Path | None = getattr(options, "output", None)
    if output is None:
        require_output("write into a file with -o FILE")
    text = options.work(options)
    if output is not None:
        write_files({output: text})
        return 0
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has had enough
        give_up_output()
    return 0


def _summary(options: argparse.Namespace) -> str:
    from d4pcwl.trace.summary import summary_of
    from d4pcwl.trace.text import summary_text

    summary = summary_of(options.trace)
    found = suggest.suggestions(options, summary.run.processes)
    return presentable(summary_text(summary, found))


def _compare(options: argparse.Namespace) -> str:
    from d4pcwl.trace.summary import summary_of
    from d4pcwl.trace.text import changes_text

    before, after = summary_of(options.trace), summary_of(options.other)
    return presentable(changes_text([options.trace, options.other], before, after))


def _report(options: argparse.Namespace) -> str:
    from d4pcwl.trace.page import page
    from d4pcwl.trace.summary import summary_of

    summary = summary_of(options.trace)
    if options.other is None:
        found = suggest.suggestions(options, summary.run.processes)
        return page([(options.trace, summary)], found)
    if options.script is not None:
        raise UsageError("--script: give only one trace")
    return page([(options.trace, summary), (options.other, summary_of(options.other))])


def _export(options: argparse.Namespace) -> str:
    from d4pcwl.trace.chrome import chrome_trace
    from d4pcwl.trace.otlp import otlp_traces
    from d4pcwl.trace.summary import summary_of

    make = {"chrome": chrome_trace, "otlp": otlp_traces}[options.form]
    # In one line: collectors read files of OTLP line by line.
    return json.dumps(make(summary_of(options.trace)), ensure_ascii=False) + "\n"
