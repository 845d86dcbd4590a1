"""``dispel4py MAPPING SCRIPT``: run a script's graph."""

from __future__ import annotations

import os
import sys

from d4pcwl.cli.common import (
    OWN,
    check_processes,
    current_folder,
    end_if_asked,
    given,
    guarded,
    say,
    say_nothing,
    tell,
    uncollected,
    version,
)
from d4pcwl.cli.standard import require_output

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from d4pcwl.runtime.job import Origin
    from d4pcwl.runtime.mappings.registry import Mapping, Run
    from d4pcwl.runtime.results import ErrorLines, ResultFile, Sink
    from d4pcwl.streams.output_file import OutputFile
    from d4pcwl.workflow.flat import FlatGraph
    from d4pcwl.workflow.inputs import RootInputs
    from d4pcwl.workflow.load import Script


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = given(argv)
    if arguments[:1] == ["worker"]:
        from d4pcwl.cli import worker

        return worker.main(arguments[1:])
    debug = "--debug" in arguments
    return guarded("dispel4py", lambda: _main(arguments), debug=debug)


def _main(arguments: list[str]) -> int:
    options = _parse(arguments)
    mapping: Mapping[Any] = options.mapping
    if options.checkpoint is not None:
        from d4pcwl.runtime.mappings.registry import require_checkpoints

        require_checkpoints(mapping)
    if mapping.around is None or options.dry_run:
        return _run(options, mapping.run)
    from d4pcwl.cli import watching
    from d4pcwl.runtime.mappings.registry import Command

    def work(run: Run[Any], first: bool) -> int:
        from contextlib import ExitStack
        from tempfile import TemporaryDirectory

        with ExitStack() as stack:
            if not first:
                options.trace, options.progress = None, watching.NONE
                options.provenance = options.provenance_config = None
                _be_silent(options, lambda: stack.enter_context(TemporaryDirectory()))
            return _run(options, run)

    command = Command(arguments, options.num, say_nothing if options.quiet else say)
    return mapping.around(command, work)


def _parse(arguments: list[str]) -> argparse.Namespace:
    with uncollected():
        parser, script, mapping = _parser(arguments)
        from d4pcwl.cli import parameters
        from d4pcwl.runtime.options import parsed_options
    parsed = parameters.parse(parser, script, arguments[1:], roots=True)
    if parsed.script.partition("#")[0].endswith(".cwl"):
        from d4pcwl.errors import UsageError

        raise UsageError(
            f"{parsed.script} is a CWL document, not a script; run it with d4pcwl-runner "
            f"{parsed.script} (or d4pcwl cwl), or make a script from it with cwl2d4p"
        )
    parsed.arguments = arguments
    parsed.mapping, parsed.own = mapping, parsed_options(parsed, mapping.options, OWN)
    return parsed


def _parser(
    arguments: list[str],
) -> tuple[argparse.ArgumentParser, argparse.Action, Mapping[Any]]:
    """The options of the command, the one that is the script, and the mapping, whose options are
    among them."""
    import argparse
    from functools import partial

    from d4pcwl.cli.parser import Parser
    from d4pcwl.errors import UsageError
    from d4pcwl.runtime.mappings.registry import find_mapping, mapping_names, titles

    # The mapping comes first, because it has its own options.
    named = bool(arguments) and not arguments[0].startswith("-")
    # Only a help text needs the import of all mappings.
    asks = not named or bool({"-h", "--help"} & set(arguments))
    told = titles() if asks else {}
    # Finding the width of the terminal is slow.
    narrow = partial(argparse.HelpFormatter, width=78)
    parser = Parser(
        prog=f"dispel4py {arguments[0]}" if named else "dispel4py",
        usage=None
        if named
        else "dispel4py MAPPING SCRIPT [options]; dispel4py MAPPING --help lists all options",
        description="Run the workflow graph of a dispel4py script.",
        epilog="mappings: " + "; ".join(f"{name}: {text}" for name, text in told.items()),
        allow_abbrev=False,
        formatter_class=argparse.HelpFormatter if asks else narrow,
    )
    parser.add_argument("--version", action="version", version=version())
    if not named:
        parser.add_argument("mapping", metavar="MAPPING", choices=mapping_names())
        parser.add_argument("script", metavar="SCRIPT")
        parser.parse_args(arguments)  # --help, --version, or an error
        raise UsageError("name the mapping first: dispel4py MAPPING SCRIPT [options]")
    from d4pcwl.cli import completion

    if arguments[0].endswith(".py"):
        raise UsageError(f"name the mapping first: dispel4py simple {arguments[0]}")
    mapping = find_mapping(arguments[0])
    completion.skip_word()
    script = _add_options(parser)
    mapping.add_options(parser.add_argument_group(f"options of {arguments[0]}"), OWN)
    return parser, script, mapping


def _add_options(parser: argparse.ArgumentParser) -> argparse.Action:
    """Add the options of all mappings; return the argument for the script."""
    from pathlib import Path

    from d4pcwl.cli import optimise, parameters, provenance, snapshots, stage, watching

    script = parser.add_argument(
        "script",
        metavar="SCRIPT",
        help="a file, or a module; SCRIPT:NAME is the same as SCRIPT -a NAME",
    )
    parser.add_argument(
        "-a", "--attr", "--workflow", metavar="NAME", help="the graph to use, if there are several"
    )
    given = parser.add_argument_group("inputs")
    parameters.add_option(given)
    given.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        help="inputs of the roots, in JSON or YAML: for each PE, by name or id, a list of input "
        "objects, or a number of iterations; overrides -d",
    )
    given.add_argument("-d", "--data", metavar="JSON", help="the same, as text in JSON")
    given.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="TEXT",
        help='this text replaces {"$text": N} in -d, N from 1 (used in compiled CWL)',
    )
    given.add_argument(
        "-i",
        "--iter",
        type=int,
        default=1,
        metavar="N",
        help="iterations of each root (default: 1)",
    )
    given.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the random numbers that PEs draw with self.rng (default: 0)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="write results (items of unconnected outputs) to FILE, not to standard output: as "
        "JSON lines (.jsonl) or as a stream file (.d4ps)",
    )
    output.add_argument(
        "--allow-pickle",
        action="store_true",
        help="allow pickle in stream files for items that have no open format; reading a pickle "
        "runs code",
    )
    watching.add_options(output)
    provenance.add_options(output)
    failure = parser.add_argument_group("failure")
    failure.add_argument(
        "--on-error",
        default="fail",
        metavar="POLICY",
        help="when a PE fails on an item: fail (end the run, the default), skip (leave the item "
        "out), retry:N, or retry:N,skip",
    )
    failure.add_argument(
        "--time-out",
        type=float,
        metavar="SECONDS",
        help="an item fails if a PE works on it for longer than this",
    )
    failure.add_argument(
        "--errors",
        type=Path,
        metavar="FILE",
        help="write a description of the items that are left out to FILE, as JSON lines, not to "
        "standard error",
    )
    snapshots.add_options(failure)
    optimise.add_option(parser.add_argument_group("a plan that learns"))
    talk = output.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="only errors on standard error")
    talk.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="show the plan, and how many items each instance processed",
    )
    output.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, and show what would run where, with which files; no PE runs",
    )
    output.add_argument("--debug", action="store_true", help="tracebacks")
    stage.add_options(parser.add_argument_group("one stage of a cut graph (used in compiled CWL)"))
    return script


def _run(options: argparse.Namespace, run: Run[Any]) -> int:
    """Run the graph.

    :param run: what runs a job under the mapping
    """
    from dataclasses import replace
    from functools import partial

    from d4pcwl.cli import parameters, stage
    from d4pcwl.cli.provenance import recording
    from d4pcwl.cli.snapshots import snapshots
    from d4pcwl.cli.watching import watching
    from d4pcwl.cwl.emit.handover import leave_out_unset
    from d4pcwl.cwl.files import with_files, with_paths
    from d4pcwl.errors import UsageError
    from d4pcwl.runtime.engine.policy import parse_policy
    from d4pcwl.runtime.job import Job
    from d4pcwl.runtime.mappings.registry import run_job
    from d4pcwl.runtime.results import WithErrors
    from d4pcwl.workflow.inputs import root_inputs
    from d4pcwl.workflow.load import load

    check_processes(options.num)
    leave_out_unset(os.environ)
    folder = current_folder()
    script = load(options.script, options.attr, partial(parameters.settle, options))
    graph = script.flat()
    end_if_asked()
    named = parameters.root_inputs_named(options, script, graph)
    if options.dry_run and options.stage:
        raise UsageError("--dry-run is for a whole graph: leave out --stage")
    if options.params and script.builder is None:
        raise UsageError(f"--params: the graph of {options.script} has no parameters")
    if current_folder() != folder:
        _stay(options, folder)
    given, names = _given(options), graph.names
    if named is not None and given is not None:
        raise UsageError(
            "inputs of roots are given twice: use either -d or -f, or the options "
            "that have the names of the inputs"
        )
    given = named if given is None else given
    with (
        recording(options, script) as record,
        snapshots(options, script) as session,
        _Files(options, names) as files,
    ):
        if options.stage:
            given = with_paths(given)
            graph, inputs, sink, ports, written = stage.read(
                options, graph, given, files.results, record
            )
            files.open += written
        elif options.targets or options.splits or options.expect:
            raise UsageError("--to, --split and --expect need --stage")
        else:
            inputs = with_files(graph, root_inputs(graph, given, options.iter), options.file)
            sink = files.results([(pe.id, output) for pe, output in graph.unconnected])
            ports = None
        errors = files.errors()
        if not options.quiet:
            for text in _notes(graph, inputs):
                say(f"note: {text}")
        job = Job(
            graph,
            inputs,
            WithErrors(sink, errors.tell if errors else _say_left_out),
            results=ports,
            processes=options.num,
            say=say if options.verbose else say_nothing,
            origin=None if options.stage else _origin(options, folder, script),
            policy=parse_policy(options.on_error, options.time_out),
            seed=options.seed,
            record=record,
            checkpoint=session,
        )
        prediction: Sequence[str] = ()
        if options.optimise or options.sources:
            from d4pcwl.cli.optimise import learn

            job, prediction = learn(options, script, job)
        if options.dry_run:
            from d4pcwl.cli.dry_run import dry_run

            sys.stdout.write(dry_run(options, script, job, prediction))
        else:
            with watching(options, options.script, options.arguments) as observer:
                job = replace(job, observer=observer)
                run_job(replace(options.mapping, run=run), job, options.own)
    return 0


def _notes(graph: FlatGraph, inputs: RootInputs) -> Iterator[str]:
    """What users may not expect of a run."""
    from d4pcwl.workflow.inputs import idle_roots
    from d4pcwl.workflow.silent import forgotten_returns
    from d4pcwl.workflow.undeclared import UNDECLARED

    for pe in idle_roots(graph, inputs):
        yield f"no input is given for {graph.names.get(pe, pe)}, so it does not run"
    for pe, output in graph.unconnected:
        if pe.outputconnections[output].get(UNDECLARED):
            name = graph.names[pe.id]
            yield f"{name} is a consumer, but writes to '{output}': its items are results"
    yield from forgotten_returns(graph)


def _stay(options: argparse.Namespace, folder: str) -> None:
    """The script changed the folder: keep the places of the named files."""
    from dataclasses import replace
    from pathlib import Path

    for name in ("file", "results", "errors", "trace", "provenance", "checkpoint"):
        path = getattr(options, name)
        if path is not None:
            setattr(options, name, type(path)(os.path.join(folder, path)))
    config = options.provenance_config
    if config is not None and not config.lstrip().startswith("{"):
        options.provenance_config = os.path.join(folder, config)
    options.sources = [replace(s, path=Path(folder, s.path)) for s in options.sources]
    options.targets = [
        replace(t, paths=tuple(Path(folder, path) for path in t.paths)) for t in options.targets
    ]
    options.splits = [
        [*split[:2], *(os.path.join(folder, path) for path in split[2:])]
        for split in options.splits
    ]


def _be_silent(options: argparse.Namespace, make_folder: Callable[[], str]) -> None:
    """Another process shows messages for the run: this one is silent, and writes no files.

    :param make_folder: makes a folder for the files of the run
    """
    import itertools
    from dataclasses import replace
    from pathlib import Path

    options.quiet, options.verbose = True, False
    options.results = options.errors = None
    if not options.targets and not options.splits:
        return
    folder, names = Path(make_folder()), itertools.count()

    def elsewhere(paths: Sequence[Any]) -> list[Path]:
        return [folder / f"{next(names)}.d4ps" for _ in paths]

    options.targets = [replace(t, paths=tuple(elsewhere(t.paths))) for t in options.targets]
    options.splits = [[*split[:2], *map(str, elsewhere(split[2:]))] for split in options.splits]


def _origin(options: argparse.Namespace, folder: str, loaded: Script) -> Origin:
    """How a worker on another host finds the script, and makes the same graph.

    :param folder: the current folder when it was loaded
    """
    from d4pcwl.runtime.job import Origin
    from d4pcwl.workflow.parameters import plain_values

    script: str = options.script
    name, colon, attr = script.partition(":")
    if os.path.exists(os.path.join(folder, script)):
        name, colon, attr = script, "", ""
    if os.path.exists(os.path.join(folder, name)):
        # Keep a link, because modules are beside it.
        script = os.path.abspath(os.path.join(folder, name)) + colon + attr
    return Origin(script, options.attr or "", plain_values(loaded.builder, loaded.values))


class _Files:
    """The files of ``--results`` and ``--errors``: renamed at the end, or kept as partial files.

    :ivar open: these and others that are closed at the end
    """

    def __init__(self, options: argparse.Namespace, names: dict[str, str]) -> None:
        self._options, self._names = options, names
        self.open: list[ResultFile] = []
        self._outputs: list[OutputFile] = []
        self._results: OutputFile | None = None

    def results(self, ports: list[tuple[str, str]]) -> Sink:
        """The sink for the results of these outputs.

        :raises UsageError: it cannot be written
        """
        from d4pcwl.runtime.results import JsonLinesPrinted, Named, file_sink

        if self._options.results is None or self._options.dry_run:
            if ports:
                require_output("--results FILE writes results to a file")
            printed = JsonLinesPrinted()
            self.open.append(printed)
            return Named(printed, self._names)
        ports = [(self._names.get(pe, pe), output) for pe, output in ports]
        sink = file_sink(self._options.results, ports, allow_pickle=self._options.allow_pickle)
        self.open.append(sink)
        if not isinstance(sink, JsonLinesPrinted):
            self._results = self._noted(sink.output)
        return Named(sink, self._names)

    def errors(self) -> ErrorLines | None:
        """The sink for descriptions of items that are left out, if a file is named.

        :raises UsageError: it cannot be written
        """
        from d4pcwl.runtime.results import ErrorLines

        if self._options.dry_run or not self._options.errors:
            return None
        errors = ErrorLines(self._options.errors)
        self.open.append(errors)
        self._noted(errors.output)
        return errors

    def _noted(self, output: OutputFile) -> OutputFile:
        self._outputs.append(output)
        if output.contended:
            self._say(
                f"another run also writes to {output.path}; the run that ends last replaces it"
            )
        return output

    def _say(self, text: str, *, last: bool = False) -> None:
        if not self._options.quiet:
            (tell if last else say)(f"note: {text}")

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        from d4pcwl.errors import OutputError, UsageError, shown

        if kind is not None and issubclass(kind, UsageError):  # nothing has run
            for output in self._outputs:
                output.drop()
        failure: OutputError | None = None
        for file in self.open:
            try:
                file.close(kind is None)
            except OutputError as error:
                failure = failure or error
        for output in self._outputs:
            if output.overtook:
                self._say(f"another run wrote {output.path} in the meantime; this run replaced it")
        kept = self._results
        if kept is not None and kept.is_partial and kept.place.exists() and not kept.is_in_place:
            self._say(f"the results so far are kept in {shown(kept.place)}", last=True)
        if failure is not None and kind is None:
            raise failure


def _given(options: argparse.Namespace) -> Any:
    if options.file is not None:
        from d4pcwl.workflow.texts import read_file

        return read_file(options.file)
    if options.data is not None:
        from d4pcwl.cwl.emit.handover import with_texts
        from d4pcwl.workflow.texts import parse_json

        return with_texts(parse_json(options.data, "-d"), options.text)
    return None


def _say_left_out(description: dict[str, Any]) -> None:
    """Report an item that is left out."""
    number = description["number"]
    item = "an item" if number is None else f"item {number}"
    where = f"{item} of '{description['input']}'"
    say(f"left out: {where} of PE {description['pe']}: {description['error']}")


if __name__ == "__main__":
    sys.exit(main())
