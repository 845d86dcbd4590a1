"""Options of a script: the parameters of its workflow, and the inputs of its roots.

They are not known before the script is loaded. So a command first parses its own options. The rest
is parsed here, after the script was loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.cli import completion
from d4pcwl.cli.common import current_folder, say
from d4pcwl.cli.parser import usage_line
from d4pcwl.cwl.files import with_paths
from d4pcwl.errors import D4pcwlError, InputError, UsageError, closest, raise_faults
from d4pcwl.workflow.parameters import REQUIRED, Builder, Parameter

if TYPE_CHECKING:
    from d4pcwl.cwl.declare.declarations import CwlType
    from d4pcwl.workflow.flat import FlatGraph
    from d4pcwl.workflow.load import Script

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_METAVARS = {
    "int": "INT",
    "float": "NUMBER",
    "str": "TEXT",
    "Path": "PATH",
    "File": "FILE",
    "Directory": "FOLDER",
}


def add_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add an option with which every parameter can be given, also one with the name of an
    option."""
    parser.add_argument(
        "--params",
        action="append",
        default=[],
        metavar="FILE|JSON|NAME=VALUE",
        help="values for the parameters of the script's workflow: a file in YAML or JSON, an "
        "object in JSON, or one NAME=VALUE; each parameter is also an option (SCRIPT --help)",
    )


def parse(
    parser: argparse.ArgumentParser,
    script: argparse.Action,
    arguments: Sequence[str],
    *,
    roots: bool = False,
) -> argparse.Namespace:
    """Parse the command's own options; ``rest`` has the others, for the script.

    :param script: the positional argument for the script; ``--help`` after a script is for the
        script
    :param roots: whether inputs of roots are options
    """
    taken = set(parser._option_string_actions)
    asked = {"-h", "--help"}.intersection(arguments)
    if asked:
        script.nargs, script.required = "?", False
        found, _ = parser.parse_known_args([a for a in arguments if a not in asked])
        script.nargs, script.required = None, True
        if found.script is None:
            parser.parse_args(["--help"])
        found.taken = taken
        _help(parser.prog, found, roots).parse_args(["--help"])
    if completion.wants_option():
        _add_for_shell(parser, script, arguments, roots)
    options, rest = parser.parse_known_args(arguments)
    options.rest, options.taken, options.folder = rest, taken, current_folder()
    options.param_files = []  # those that --params names
    options.used = {argument.partition("=")[0] for argument in arguments} & taken
    return options


def _add_for_shell(
    parser: argparse.ArgumentParser, script: argparse.Action, arguments: Sequence[str], roots: bool
) -> None:
    """Where a shell asks for options, those of the script that is named are offered, too."""
    script.nargs, script.required = "?", False
    # Its own way to parse would answer the shell.
    with contextlib.suppress(SystemExit, D4pcwlError):
        options, _ = argparse.ArgumentParser.parse_known_args(parser, arguments)
        if options.script is not None:
            _add_script(parser, load_aside(options), set(parser._option_string_actions), roots)
    script.nargs, script.required = None, True


def load_aside(options: argparse.Namespace) -> Script:
    """The script that a command looks at and does not run: parameters have samples for values. What
    it prints is no part of the answer.

    :raises D4pcwlError: it cannot be loaded
    """
    from d4pcwl.workflow.load import aside, load

    with aside():
        return load(options.script, options.attr, lambda b: b.settled({}, partly=True))


def _help(command: str, options: argparse.Namespace, roots: bool) -> argparse.ArgumentParser:
    """The help text for the options of the script."""
    script = load_aside(options)
    builder = script.builder
    parser = argparse.ArgumentParser(
        usage=f"{command} {options.script} [options of the script] [options]",
        description=f"{builder.title}\n\n{builder.doc}" if builder else script.module.__doc__,
        epilog=f"{command} --help lists the options of the command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_script(parser, script, options.taken, roots)
    return parser


def _add_script(
    parser: argparse.ArgumentParser, script: Script, taken: set[str], roots: bool
) -> None:
    if script.builder is not None:
        group = parser.add_argument_group(f"parameters of {script.builder.name}()")
        taken = taken | _add_parameters(group, script.builder, taken)
    if roots:
        group = parser.add_argument_group("inputs of the graph's roots")
        for each in _root_options(script, script.flat(), taken):
            items: dict[str, Any] = {"nargs": "+", "metavar": "ITEM"} if each.port else {}
            group.add_argument(*each.flags, help=each.help, **(items or {"metavar": "N"}))


# --- parameters of the workflow -------------------------------------------------------------------


def settle(
    options: argparse.Namespace, builder: Builder, *, partly: bool = False
) -> dict[str, Any]:
    """The values of parameters on a command line; other arguments stay in ``rest``.

    :raises InputError: with all that is not right
    """
    there = current_folder()
    with contextlib.chdir(options.folder):
        values = _settled(options, builder, partly)
        if there == options.folder:
            return values
        # The script changed the folder: keep the places of the named files.
        return {name: builder.parameters[name].kind.absolute(v) for name, v in values.items()}


def _settled(options: argparse.Namespace, builder: Builder, partly: bool) -> dict[str, Any]:
    from d4pcwl.workflow.texts import parse_json, read_file

    given: dict[str, Any] = {}
    texts: dict[str, list[str]] = {}
    for entry in options.params:
        named = _NAMED.fullmatch(entry)
        if named is not None and named[1] in builder.parameters:
            texts.setdefault(named[1], []).append(named[2])
        elif entry.lstrip().startswith("{"):
            given |= parse_json(entry, "--params")
        else:
            options.param_files.append(os.path.abspath(entry))
            content = read_file(entry)
            if not isinstance(content, Mapping):
                raise InputError(
                    f"--params {entry}: expected an object from names of parameters to values"
                )
            given |= content
    parser = argparse.ArgumentParser(
        usage="SCRIPT [parameters]; SCRIPT --help lists them", add_help=False, allow_abbrev=False
    )
    _add_parameters(parser, builder, options.taken)
    found, options.rest = parser.parse_known_args(options.rest)
    options.taken |= set(parser._option_string_actions)
    texts |= {name: value for name, value in vars(found).items() if value is not None}
    for name in builder.parameters:
        if f"--{name}" in options.used and name not in {*given, *texts} and not options.quiet:
            say(
                f"note: --{name} is an option of the command; to set the parameter {name} of "
                f"{builder.name}(), use --params {name}=VALUE"
            )
    given = {name: with_paths(value) for name, value in given.items() if name not in texts}
    return builder.settled(given, texts, partly=partly)


def _add_parameters(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    builder: Builder,
    taken: Iterable[str],
) -> set[str]:
    """An option for each parameter, where none of the command's is called so; all of them."""
    added: set[str] = set()
    for each in builder.parameters.values():
        flags = _free(each.name, taken) or [f"--params {each.name}="]
        names = "|".join(each.kind.choices)
        told: dict[str, Any] = {
            "dest": each.name,
            "help": _described(each),
            "metavar": _METAVARS.get(each.kind.base, f"{{{names}}}" if names else "BOOL"),
        }
        if each.kind.many:
            told |= {"nargs": "*", "action": "extend"}
        elif each.kind.base == "bool":
            told |= {"nargs": "?", "const": ["true"], "type": lambda text: [text]}
            no = _free(f"no_{each.name}", taken)
            if no:
                hidden = argparse.SUPPRESS
                parser.add_argument(
                    *no, action="store_const", const=["false"], dest=each.name, help=hidden
                )
        else:
            told["action"] = "append"
        parser.add_argument(*flags, **told)
        added.update(flags)
    return added


def _free(name: str, taken: Iterable[str]) -> list[str]:
    """The names of an option that are still free."""
    return [
        flag
        for flag in dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        if flag not in taken
    ]


def _described(each: Parameter) -> str:
    parts = [each.doc or str(each.kind)]
    if each.default is REQUIRED:
        parts.append("(required)")
    elif each.default not in (None, [], ()):
        parts.append(f"(default: {_shown(each)})")
    return " ".join(parts).replace("%", "%%")


def _shown(each: Parameter) -> str:
    value = each.kind.plain(each.default) if not each.kind.is_path else each.default
    values = value if isinstance(value, (list, tuple)) else [value]
    return " ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


# --- inputs of roots ------------------------------------------------------------------------------


class _RootOption:
    """The option for an input of a root, or for the iterations of one without inputs."""

    def __init__(self, pe: Any, port: str, flags: list[str], type: CwlType | None, doc: str):
        self.pe, self.port, self.flags, self.type = pe, port, flags, type
        self.dest = f"{pe.id} {port}"
        items = f"items ({type.base})" if type else "items" if port else "how often it runs"
        self.help = (f"{doc} " if doc else f"{pe.name}: {items}").strip().replace("%", "%%")

    def values(self, texts: list[str]) -> list[Any]:
        """The items of texts.

        :raises ValueError: a text is not valid
        """
        return [self._value(text) for text in texts]

    def _value(self, text: str) -> Any:
        base = self.type.base if self.type else "Any"
        if base in ("File", "Directory"):
            if not (Path(text).is_dir() if base == "Directory" else Path(text).exists()):
                raise ValueError(f"there is no {base.lower()} {text}")
            return text
        if base == "string":
            return text
        import json

        try:
            value = json.loads(text)
        except ValueError:
            if base == "Any":
                return text
            value = text
        kinds: dict[str, tuple[type, ...]] = {
            "int": (int,), "long": (int,), "boolean": (bool,),
            "float": (int, float), "double": (int, float),
        }  # fmt: skip
        if base in kinds and (
            not isinstance(value, kinds[base]) or (isinstance(value, bool) and base != "boolean")
        ):
            raise ValueError(f"expected {base}, not '{text}'")
        return value


def _root_options(script: Script, graph: FlatGraph, taken: Iterable[str]) -> Iterator[_RootOption]:
    from d4pcwl.cwl.declare.declarations import read_declarations
    from d4pcwl.cwl.declare.found_inputs import found_inputs, with_found_inputs

    declared = read_declarations(graph, script.path, script.module)
    declared = with_found_inputs(declared, found_inputs(graph, declared))
    for pe in graph.roots:
        inputs = declared.by_pe[pe.id].inputs
        names = [graph.names[pe.id], pe.id]
        for port in pe.inputconnections or [""]:
            several = len(pe.inputconnections) > 1
            whole = [f"{name}_{port}" if several else str(name) for name in names]
            whole = [name for name in whole if not re.search(r"[\s=]", name)]
            flags = [flag for name in whole for flag in _free(name, taken)]
            known = inputs.get(port)
            kind = None if known is None or known.as_json else known.type
            if flags:
                yield _RootOption(pe, port, flags, kind, known.doc if known else "")


def root_inputs_named(options: argparse.Namespace, script: Script, graph: FlatGraph) -> Any:
    """The inputs of roots that options give, in the form of ``-d``; None if there are none.

    :raises UsageError: there are unknown arguments
    :raises InputError: items do not have the declared type
    """
    if not options.rest:
        return None
    every = list(_root_options(script, graph, options.taken))
    parser = argparse.ArgumentParser(
        usage="SCRIPT [inputs of roots]; SCRIPT --help lists them",
        add_help=False,
        allow_abbrev=False,
    )
    for each in every:
        parser.add_argument(*each.flags, dest=each.dest, nargs="+", action="extend")
    found, rest = parser.parse_known_args(options.rest)
    command = f"dispel4py {options.mapping.name} {options.script}"
    refuse_rest(rest, options.taken | set(parser._option_string_actions), command)
    given: dict[str, Any] = {}
    faults = []
    for each in every:
        texts = getattr(found, each.dest)
        if texts is None:
            if not each.port:
                given[each.pe.id] = options.iter
            continue
        try:
            values = each.values(texts)
            if each.port:
                given.setdefault(each.pe.id, {})[each.port] = values
            elif len(values) == 1 and type(values[0]) is int:
                given[each.pe.id] = values[0]
            else:
                raise ValueError("it has no inputs; give a number of iterations")
        except ValueError as fault:
            faults.append(f"{each.flags[0]}: {fault}")
    raise_faults(InputError, faults)
    return given


def refuse_rest(rest: Sequence[str], known: Iterable[str], command: str) -> None:
    """Refuse unknown arguments.

    :param command: the command that got them
    :raises UsageError: there are some
    """
    if rest:
        unknown = next((text for text in rest if text.startswith("-")), "")
        hint = closest(unknown.partition("=")[0], known) if unknown else ""
        usage = usage_line(f"{command} [options]")
        raise UsageError(f"unrecognized arguments: {' '.join(rest)}{hint}\n{usage}")
