"""The options of a mapping: a dataclass whose fields are also options of the command line.

::

    @dataclass(frozen=True)
    class MyOptions(Options):
        depth: int = option("--depth", help="how many wait", metavar="N", default=16, least=1)

From Python they are given as ``MyOptions(depth=4)`` or ``{"depth": 4}``, on the command line as
``--depth 4``. The type of a field is ``bool`` (a flag), ``int``, ``float`` or ``str``, or one of
the latter three ``| None``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from d4pcwl.errors import UsageError, brief, nearest, raise_faults

if TYPE_CHECKING:
    import argparse

    from d4pcwl.workflow.assignment import Assignment
    from d4pcwl.workflow.flat import FlatGraph

AnyOptions = TypeVar("AnyOptions", bound="Options")

_KINDS: dict[type, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def option(
    *flags: str,
    help: str,
    default: Any = None,
    metavar: str | None = None,
    least: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field of :class:`Options`.

    :param flags: its names on the command line: ``"-thr"``, ``"--queue_threshold"``
    :param help: one line; ``%(default)s`` stands for the default
    :param metavar: what the help shows for its value
    :param least: the least value that it may have
    :param choices: the texts that it may be
    """
    shown = metavar or "|".join(choices) or None
    metadata = {"flags": flags, "help": help, "metavar": shown, "least": least, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """The options of a mapping. A mapping without options of its own uses this class itself.

    :raises UsageError: values are not of the right type, too small, or not among the choices
    """

    def __post_init__(self) -> None:
        faults = []
        for name, (kind, may_miss) in kinds(type(self)).items():
            value = getattr(self, name)
            if value is None and may_miss:
                continue
            told = _field(type(self), name).metadata
            least, choices = told["least"], told["choices"]
            right = isinstance(value, (int, float) if kind is float else kind)
            if not right or (isinstance(value, bool) and kind is not bool):
                faults.append(f"{_called(self, name)}: expected {_KINDS[kind]}, not {brief(value)}")
            elif least is not None and not value >= least:
                faults.append(f"{_called(self, name)}: at least {least} is needed, not {value}")
            elif choices and value not in choices:
                known = " or ".join(choices)
                faults.append(f"{_called(self, name)}: expected {known}, not {brief(value)}")
        raise_faults(UsageError, faults)

    @classmethod
    def of(cls, given: Any, mapping: str) -> Self:
        """The options that a caller gives: an instance, a dictionary by name, or None.

        :param mapping: its name, for messages
        :raises UsageError: with all faults
        """
        if isinstance(given, cls):
            return given
        if given is None:
            return cls()
        if not isinstance(given, Mapping):
            raise UsageError(
                f"the options of the mapping {mapping} must be a dictionary or {cls.__name__}, "
                f"not {brief(given)}"
            )
        known = kinds(cls)
        raise_faults(
            UsageError,
            (
                f"the mapping {mapping} has no option {brief(name)}{_hint(name, known)}"
                for name in given
                if name not in known
            ),
        )
        return cls(**given)


def _hint(name: object, known: Mapping[str, Any]) -> str:
    if name in ("n", "num", "processes"):
        return "; the number of processes is an argument of its own, processes="
    return nearest(str(name).replace("-", "_"), known) or "; it has none of its own"


def kinds(cls: type[Options]) -> dict[str, tuple[type, bool]]:
    """From each option to its type, and whether it may be None.

    :raises TypeError: an option has a type that no option can have
    """
    found = {}
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        choice = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        among = [kind for kind in choice if kind is not type(None)]
        if len(among) != 1 or among[0] not in _KINDS:
            allowed = ", ".join(kind.__name__ for kind in _KINDS)
            raise TypeError(f"{cls.__name__}.{field.name}: an option is one of {allowed}")
        found[field.name] = (among[0], type(None) in choice)
    return found


def add_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    cls: type[Options],
    prefix: str = "",
) -> None:
    """Give a command the options of a mapping.

    :param prefix: of their names in the namespace, because the command's own options may have the
        same names
    """
    for name, (kind, _) in kinds(cls).items():
        field = _field(cls, name)
        told: dict[str, Any] = {"dest": prefix + name, "default": field.default}
        told["help"] = field.metadata["help"]
        if kind is bool:
            told["action"] = "store_true"
        else:
            told |= {"type": kind, "metavar": field.metadata["metavar"]}
        parser.add_argument(*field.metadata["flags"], **told)


def parsed_options(namespace: object, cls: type[AnyOptions], prefix: str = "") -> AnyOptions:
    """The options that a command was given, by :func:`add_options`.

    :raises UsageError: a value is too small, or not among the choices
    """
    return cls(**{name: getattr(namespace, prefix + name) for name in kinds(cls)})


def _field(cls: type[Options], name: str) -> dataclasses.Field[Any]:
    found: dataclasses.Field[Any] = cls.__dataclass_fields__[name]
    return found


def _called(options: Options, name: str) -> str:
    flags = ", ".join(_field(type(options), name).metadata["flags"])
    return f"option {name} ({flags})"


# --- options that several mappings have, under upstream's names -----------------------------------

STATIC_PROCESSES = (
    "number of processes (default: the usable cores); any number works: PEs share processes, or "
    "are replicated"
)
"""The help text of ``-n`` for mappings with :class:`StaticOptions`."""


@dataclass(frozen=True)
class StaticOptions(Options):
    """The options of mappings whose instances stay in one process."""

    simple: bool = option(
        "-s",
        "--simple",
        default=False,
        help="put each of the graph's partitions into one process; without partitions, the roots "
        "into one and all other PEs into a second one",
    )

    def assignment(self, graph: FlatGraph) -> Assignment | None:
        """The PEs that share a process, if the user asks for that."""
        from d4pcwl.workflow.assignment import of_stages
        from d4pcwl.workflow.cut import fuse

        return of_stages(fuse(graph)) if self.simple else None


@dataclass(frozen=True)
class ServerOptions(Options):
    """The options for the Redis server of a run; ``runtime/redis/server.py`` reads them."""

    redis_ip: str | None = option(
        "-ri",
        "--redis-ip",
        metavar="HOST",
        help="the host of the Redis server (default: REDIS_URL or REDIS_HOST; without any of "
        "these, the run starts its own server)",
    )
    redis_port: int | None = option(
        "-rp", "--redis-port", metavar="PORT", help="its port (default: REDIS_PORT, else 6379)"
    )
    redis_url: str | None = option(
        "--redis-url",
        metavar="URL",
        help="redis://HOST:PORT/DATABASE, rediss://…, or unix:///PATH; name and password may come "
        "from REDIS_USERNAME and REDIS_PASSWORD, where other users cannot read them",
    )


@dataclass(frozen=True)
class CompressOptions(Options):
    """The options of mappings whose items may go from host to host."""

    compress: str = option(
        "--compress",
        default="auto",
        choices=("auto", "always", "never"),
        help="compress what is sent to other hosts: where measurements show that it saves time "
        "(auto, the default), always, or never; needs Python 3.14, or d4pcwl[compression]",
    )


@dataclass(frozen=True)
class RedisOptions(CompressOptions, ServerOptions):
    """The options of the Redis mappings."""
