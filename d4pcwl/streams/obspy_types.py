"""obspy's waveforms, times, station metadata, responses and events in streams, without pickle.

Imported only when an object of obspy is used. Objects are written by their attributes, with the
names of StationXML and QuakeML. They are made again without their constructors, which would compute
the sampling rate again, and make unneeded checks. The XML formats themselves cannot hold attributes
that scripts add, nanoseconds, or types.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from d4pcwl.streams.tagged import Wrong, whole

_MODULES = ("response", "util", "channel", "network", "station", "inventory")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def register_all(register: Callable[..., None]) -> None:
    """Register ``obspy.Trace`` and the others; doing it again changes nothing.

    :param register: :func:`d4pcwl.streams.converters.register`
    :raises ImportError: obspy is not installed
    """
    from obspy.core import AttribDict, Stats, Stream, Trace, UTCDateTime  # type: ignore
    from obspy.core.util.base import ComparingObject  # type: ignore
    from obspy.core.util.obspy_types import CustomComplex, CustomFloat  # type: ignore

    register(UTCDateTime, "obspy.UTCDateTime", _time_to_plain, _time_from_plain)
    for cls in (AttribDict, Stats, Trace, Stream):
        register(cls, f"obspy.{cls.__name__}", _attributes, _Rebuild(cls))
    names = [f"obspy.core.inventory.{name}" for name in _MODULES]
    for module in map(import_module, (*names, "obspy.core.util.obspy_types")):
        for cls in vars(module).values():
            if not isinstance(cls, type) or cls.__module__ != module.__name__:
                continue
            if issubclass(cls, (CustomFloat, CustomComplex)):
                register(cls, f"obspy.{cls.__name__}", _number_to_plain, _RebuildNumber(cls))
            elif issubclass(cls, ComparingObject):
                register(cls, f"obspy.{cls.__name__}", _attributes, _Rebuild(cls))
    _register_events(register)


def _register_events(register: Callable[..., None]) -> None:
    """Register catalogues and events with all their parts, as ``obspy.event.Origin`` and so on."""
    from obspy.core import AttribDict, event

    for cls in vars(event).values():
        if not isinstance(cls, type) or not cls.__module__.startswith(event.__name__):
            continue
        name = f"obspy.event.{cls.__name__}"
        if cls is event.ResourceIdentifier:
            register(cls, name, _identifier_to_plain, _identifier_from_plain)
        elif cls is event.Event or cls is event.Catalog:
            register(cls, name, _attributes, _RebuildScope(cls))
        elif issubclass(cls, AttribDict):
            register(cls, name, _attributes, _RebuildPart(cls))


def _attributes(thing: Any) -> dict[str, Any]:
    return dict(vars(thing))


class _Rebuild:
    """Make an object of ``cls`` with the given attributes."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls

    def __call__(self, attributes: dict[str, Any]) -> Any:
        if type(attributes) is not dict:
            raise Wrong("an object of attributes")
        thing: Any = self.cls.__new__(self.cls)
        vars(thing).update(attributes)
        return thing


class _RebuildPart(_Rebuild):
    """The same for a part of an event: its resource id refers to it."""

    def __call__(self, attributes: dict[str, Any]) -> Any:
        part = super().__call__(attributes)
        if attributes.get("resource_id") is not None:
            part.resource_id.set_referred_object(part, warn=False)
        return part


class _RebuildScope(_Rebuild):
    """The same for an event or a catalogue, as obspy does it when it reads a pickle: the resource
    ids in an event refer to the event's own parts."""

    def __call__(self, attributes: dict[str, Any]) -> Any:
        scope: Any = self.cls.__new__(self.cls)
        scope.__setstate__(dict(attributes))
        return scope


def _identifier_to_plain(identifier: Any) -> Any:
    """The text that a user gave; or prefix and unique part of an id that obspy made."""
    return identifier.id if identifier.fixed else [identifier.prefix, identifier.uuid]


def _identifier_from_plain(plain: Any) -> Any:
    from obspy.core.event import ResourceIdentifier  # type: ignore

    if isinstance(plain, str):
        return ResourceIdentifier(plain)
    identifier = ResourceIdentifier()
    identifier.prefix, unique = plain
    if not isinstance(unique, str):
        raise TypeError("the unique part of a resource id is not text")
    identifier._uuid = unique
    identifier._resource_key = (
        identifier.id
    )  # the key by which obspy finds it, as in its constructor
    return identifier


def _number_to_plain(number: Any) -> Any:
    """A number that has attributes (its uncertainty, its unit) as ``[number, attributes]``."""
    return [_base(type(number))(number), _attributes(number)]


def _base(cls: type) -> Any:
    return float if issubclass(cls, float) else complex


class _RebuildNumber:
    """Undo :func:`_number_to_plain`."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls

    def __call__(self, plain: Any) -> Any:
        base = _base(self.cls)
        value, attributes = whole(plain, (base, dict), "a number and its attributes")
        number = base.__new__(self.cls, value)
        vars(number).update(attributes)
        return number


def _time_to_plain(time: Any) -> Any:
    """``"2016-10-30T06:40:18.000000001Z"``: all nine digits, as UTCDateTime counts nanoseconds.

    Years that ISO 8601 has no four digits for go as an int of nanoseconds since 1970; a precision
    other than UTCDateTime's own default goes beside it.
    """
    seconds, fraction = divmod(time.ns, 10**9)
    plain: Any
    try:
        whole = _EPOCH + timedelta(seconds=seconds)
        plain = f"{whole.isoformat()[:19]}.{fraction:09d}Z"
    except OverflowError:
        plain = time.ns
    return plain if time.precision == 6 else [plain, time.precision]


def _time_from_plain(plain: Any) -> Any:
    from obspy.core import UTCDateTime

    value, precision = plain if isinstance(plain, list) and len(plain) == 2 else (plain, 6)
    if type(value) not in (int, str) or type(precision) is not int or abs(precision) > 100:
        raise Wrong("a time, or a list of time and precision")
    if isinstance(value, str):
        whole = datetime.fromisoformat(value[:19] + "+00:00") - _EPOCH
        value = (whole.days * 86400 + whole.seconds) * 10**9 + int(value[20:29])
    return UTCDateTime(ns=value, precision=precision)
