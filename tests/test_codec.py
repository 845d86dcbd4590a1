"""The codec: what goes in comes out, equal items give equal bytes, and refusals say why."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime as dt
import enum
import json
import math
import pathlib
import pickle
import struct
import subprocess
import sys
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d4pcwl.errors import ItemError, UsageError
from d4pcwl.streams.codec import decode, encode, register, to_json_line


def packed(item: Any, **options: Any) -> tuple[bytes, bytes]:
    tag, parts = encode(item, **options)
    return tag, b"".join(parts)


def round_trip(item: Any, **options: Any) -> Any:
    tag, payload = packed(item, **options)
    return decode(tag, payload, **options)


def same(a: Any, b: Any) -> bool:
    """Equality with types: 1 is not 1.0 nor True, -0.0 not 0.0, and nan is nan."""
    if type(a) is not type(b):
        return False
    if a is np.ma.masked:
        return b is a
    if isinstance(a, np.ma.MaskedArray):
        return (
            same(np.asarray(a.data), np.asarray(b.data))
            and (a.mask is np.ma.nomask) == (b.mask is np.ma.nomask)
            and same(np.asarray(a.mask), np.asarray(b.mask))
            and same(a.fill_value, b.fill_value)
        )
    if isinstance(a, np.ndarray):
        fortran = a.flags.f_contiguous and not a.flags.c_contiguous
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and bool(b.flags.writeable)
            and (not fortran or bool(b.flags.f_contiguous))
            and packed(a)[1] == packed(b)[1]
        )
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, defaultdict) and a.default_factory is not b.default_factory:
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(ka, kb) and same(va, vb)
            for (ka, va), (kb, vb) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return packed(a) == packed(b)
    if isinstance(a, Decimal):
        return str(a) == str(b)
    if isinstance(a, (dt.datetime, dt.time)):
        return a == b and a.fold == b.fold and str(a.tzinfo) == str(b.tzinfo)
    return bool(a == b)


surrogates = st.text(st.characters(exclude_categories=()), max_size=8)
keys = st.text(max_size=4) | st.sampled_from(["$", "$tuple", "$array", "$x.y"]) | surrogates
zones = st.none() | st.just(dt.UTC) | st.just(dt.timezone(dt.timedelta(hours=1, seconds=7)))
hashables = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | surrogates
    | st.binary(max_size=300)
    | st.complex_numbers()
    | st.datetimes(timezones=zones | st.just(ZoneInfo("Europe/Rome")))
    | st.dates()
    | st.times(timezones=zones)
    | st.timedeltas()
    | st.decimals().filter(lambda d: not d.is_snan())
    | st.fractions()
    | st.uuids()
    | st.builds(pathlib.PurePosixPath, st.sampled_from(["a/b", "/", "ü"]))
    | st.builds(range, st.integers(0, 9), st.integers(0, 9)),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
any_dtype = (
    hnp.scalar_dtypes()
    | hnp.datetime64_dtypes()
    | hnp.unicode_string_dtypes()
    | hnp.byte_string_dtypes()
    | hnp.array_dtypes(allow_subarrays=True)
)
arrays = hnp.arrays(
    any_dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
).flatmap(lambda a: st.sampled_from([a, np.asfortranarray(a), a[..., ::-1] if a.ndim else a]))
items = st.recursive(
    hashables | arrays | arrays.filter(lambda a: a.dtype.kind != "V").map(lambda a: a[..., None]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(hashables, max_size=3)
        | st.lists(inner, max_size=3).map(deque)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict)
        | st.binary(max_size=600).map(bytearray)
    ),
    max_leaves=12,
)


@given(items)
@settings(max_examples=300)
def test_what_goes_in_comes_out(item: Any) -> None:
    tag, payload = packed(item)
    assert tag in (b"J", b"A", b"M")
    back = decode(tag, payload)
    assert same(item, back)
    assert packed(back) == (tag, payload)
    assert same(item, decode(tag, bytearray(payload)))
    assert same(item, decode(tag, memoryview(payload)))


@given(st.lists(hashables, max_size=8), st.randoms())
def test_equal_sets_give_equal_bytes(members: list[Any], random: Any) -> None:
    unique = list({packed(m): m for m in members}.values())
    one = packed(set(unique))
    random.shuffle(unique)
    if len(set(unique)) == len(unique):
        assert packed(set(unique)) == one


@given(items)
def test_every_item_has_a_json_line(item: Any) -> None:
    line = to_json_line("pe", "output", item)
    assert len(line.splitlines()) == 1
    line.encode("utf-8")
    shown = json.loads(line, parse_constant=lambda name: pytest.fail(name))
    assert list(shown)[:2] == ["pe", "port"]


@given(st.sampled_from([b"J", b"A", b"M"]), st.binary(max_size=60))
def test_bytes_from_strangers_give_item_errors(tag: bytes, payload: bytes) -> None:
    with contextlib.suppress(ItemError):
        decode(tag, payload)


@given(items, st.data())
def test_damaged_bytes_give_item_errors(item: Any, data: st.DataObject) -> None:
    tag, payload = packed(item)
    where = data.draw(st.integers(0, len(payload) - 1))
    changed = bytearray(payload)
    changed[where] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ItemError):
        decode(tag, changed)


PLAIN_ITEMS = [
    (None, b"null"),
    (True, b"true"),
    (1, b"1"),
    (1.0, b"1.0"),
    (-0.0, b"-0.0"),
    ("\u00fc\n", '"\u00fc\\n"'.encode()),
    ([], b"[]"),
    ({"b": [1, {"a": None}], "a": 0.1}, b'{"b":[1,{"a":null}],"a":0.1}'),
    ((1, 2), b'{"$tuple":[1,2]}'),
    ({2, 1}, b'{"$set":[1,2]}'),
    (b"ab", b'{"$bytes":"YWI="}'),
    (float("nan"), b'{"$float":"nan"}'),
    ({1: "a"}, b'{"$dict":[[1,"a"]]}'),
    ({"$tuple": [1]}, b'{"$dict":[["$tuple",[1]]]}'),
    (["$tuple"], b'["$tuple"]'),
    (dt.date(2016, 10, 30), b'{"$date":"2016-10-30"}'),
    ([2**2047], str([2**2047]).encode()),
    ({"a": [2**2048]}, b'{"a":[{"$int":"' + hex(2**2048).encode() + b'"}]}'),
    (10**700, b'{"$int":"' + hex(10**700).encode() + b'"}'),
]


@pytest.mark.parametrize(("item", "payload"), PLAIN_ITEMS)
def test_json_is_what_the_format_says(item: Any, payload: bytes) -> None:
    assert packed(item) == (b"J", payload)
    assert same(item, decode(b"J", payload))


OTHER_ITEMS = [
    10**5000,
    [-(10**5000)],
    "\ud83d\ude00",  # two lone surrogates, not the one character that JSON's escapes would give
    {"\udc80": "\udc80"},
    float("-inf"),
    [float("nan")] * 3,
    complex(-0.0, float("nan")),
    slice(None, 3, (1, 2)),
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Rome")),
    dt.datetime(2024, 10, 27, 2, 30, fold=1),
    dt.time(1, 2, 3, 4, tzinfo=dt.UTC),
    Decimal("sNaN"),
    Decimal("-0.00"),
    Fraction(1, 3),
    uuid.UUID(int=5),
    pathlib.Path("/data/x"),
    pathlib.PureWindowsPath("c:/x"),
    Counter("abca"),
    defaultdict(list, {1: [2]}),
    defaultdict(None, {"a": 1}),
    OrderedDict([("b", 1), ("a", 2)]),
    deque([1, 2], maxlen=2),
    bytearray(b"x" * 1000),
    {"big": b"x" * 1000, "small": b"y"},
    {b"x" * 1000, (b"y" * 1000,)},
    np.float32(0.1),
    np.float64("nan"),
    np.int8(-3),
    np.bool_(True),
    np.complex64(1 + 2j),
    np.longdouble(1) / 3,
    np.str_("a\udc80"),
    np.bytes_(b"a\0b"),
    np.datetime64("2016-10-30T06:40:18.000000001"),
    np.datetime64("NaT"),
    np.timedelta64(3, "25s"),
    np.void(b"abc"),
    np.array((1, 2.5), dtype=[("a", "i4"), ("b", ">f8")])[()],
    [np.ma.masked],
    np.ma.array([1.0, 2.0], mask=[True, False], fill_value=-1.0),
    np.ma.array([1, 2]),
    np.ma.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")], mask=[(True, False)]),
    np.zeros((), "U0"),
    np.zeros((0, 3), ">i2", order="F"),
    np.zeros((2, 3), "V0"),
    np.zeros(3, [("\u4f60", "f4"), ("s", "U2", (2,))]),
    np.broadcast_to(np.arange(3), (2, 3)),
    {"station": "AQU", "data": np.arange(3, dtype=">f4"), "more": [np.eye(2)]},
]


@pytest.mark.parametrize("item", OTHER_ITEMS, ids=lambda item: type(item).__name__)
def test_odd_values_survive(item: Any) -> None:
    assert same(item, round_trip(item))
    assert same([item], round_trip([item]))


def test_codecs_are_chosen_by_what_the_item_holds() -> None:
    assert packed({"a": [1]})[0] == b"J"
    assert packed(np.eye(2))[0] == b"A"
    assert packed({"a": np.eye(2)})[0] == b"M"
    assert packed({1, object()}, allow_pickle=True)[0] == b"P"
    assert packed({"a": 1}, allow_pickle=True)[0] == b"J"


def test_arrays_are_npy_that_numpy_reads(tmp_path: pathlib.Path) -> None:
    for array in (np.eye(3), np.asfortranarray(np.ones((2, 3))), np.zeros(2, [("\u4f60", "f4")])):
        (tmp_path / "a.npy").write_bytes(packed(array)[1])
        assert same(np.load(tmp_path / "a.npy"), array)


def test_arrays_written_by_numpy_are_read(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(4.0))
    assert same(decode(b"A", (tmp_path / "a.npy").read_bytes()), np.arange(4.0))


def test_bytes_between_fields_do_not_tell() -> None:
    dtype = np.dtype(
        [("a", "u1"), ("b", "f8"), ("c", [("d", "u1"), ("e", "i4")], (2,))], align=True
    )
    one = np.frombuffer(b"\xff" * dtype.itemsize * 2, dtype).copy()
    two = np.frombuffer(b"\0" * dtype.itemsize * 2, dtype).copy()
    for name in ("a", "b"):
        one[name] = two[name] = 1
    for name in ("d", "e"):
        one["c"][name] = two["c"][name] = 2
    assert packed(one) == packed(two)
    assert round_trip(one).dtype == dtype


def test_large_arrays_are_not_copied_by_encode() -> None:
    array = np.zeros(100_000)
    _, parts = encode({"a": array})
    assert np.shares_memory(np.frombuffer(parts[-1], "u1"), array)


def test_a_memmap_travels_as_an_array(tmp_path: pathlib.Path) -> None:
    mapped = np.memmap(tmp_path / "m", "f8", "w+", shape=(3,))
    assert type(round_trip(mapped)) is np.ndarray
    assert round_trip({"m": mapped})["m"].tolist() == [0.0] * 3


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 1


class Text(str):
    __slots__ = ()


class Odd:
    pass


@dataclasses.dataclass
class Pick:
    time: float


Point = namedtuple("Point", "x y")


REFUSED = [
    ({"a": [1, 2, 3, Odd()]}, r"item\['a'\]\[3\] is of type .*Odd, which has no plain form"),
    (Color.RED, r"item is of type .*Color"),
    ([Level.HIGH], r"item\[0\] is of type .*Level, a subclass of int"),
    (Text("a"), "a subclass of str"),
    (Point(1, 2), "Point, a subclass of tuple"),
    (Pick(1.0), "Pick"),
    ({1, Text("a")}, "item.<member> is of type"),
    ({Point(1, 2): 1}, r"item.<key Point\(x=1, y=2\)> is of type"),
    (defaultdict(lambda: 0), "factory"),
    ((1, [memoryview(b"")]), r"item\[1\]\[0\] is of type memoryview"),
    (np.array([1, "a"], dtype=object), "dtype object"),
    ([np.ma.array([None])], "dtype object"),
    (np.rec.array([(1,)], dtype=[("a", "i4")]), "recarray"),
    (np.dtype("f8"), "which has no plain form"),
    (dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "X")), "name of its own"),
    (int, "type"),
    (len, "builtin_function_or_method"),
]


@pytest.mark.parametrize(("item", "message"), REFUSED)
def test_what_would_lose_its_type_is_refused(item: Any, message: str) -> None:
    with pytest.raises(ItemError, match=message) as caught:
        encode(item)
    assert "register a converter" in str(caught.value)
    assert "--allow-pickle" in str(caught.value)


def test_too_many_fields_for_npy() -> None:
    array = np.zeros(1, [(f"a long name of a field, {i}", "f8") for i in range(500)])
    with pytest.raises(ItemError, match="too many fields"):
        encode(array)
    assert packed(array, allow_pickle=True)[0] == b"P"


def test_pickle_only_when_both_sides_allow_it() -> None:
    tag, payload = packed({"p": Pick(1.5)}, allow_pickle=True)
    assert tag == b"P"
    assert decode(tag, payload, allow_pickle=True) == {"p": Pick(1.5)}
    with pytest.raises(ItemError, match="runs code"):
        decode(tag, payload)
    with pytest.raises(ItemError, match="cannot be pickled either"):
        encode(lambda: 0, allow_pickle=True)
    with pytest.raises(ItemError, match="UnpicklingError"):
        decode(b"P", b"xx", allow_pickle=True)


def nested(depth: int, kind: type) -> Any:
    item: Any = kind()
    for _ in range(depth):
        item = {"a": item} if kind is dict else kind([item])
    return item


@pytest.mark.parametrize("kind", [list, dict, tuple, frozenset, deque])
def test_depth_is_an_error_and_not_a_crash(kind: type) -> None:
    assert round_trip(nested(150, kind)) == nested(150, kind)
    for depth in (201, 5000):
        with pytest.raises(ItemError, match="contains itself, or is nested deeper"):
            encode(nested(depth, kind))


def test_cycles_are_errors() -> None:
    ring: list[Any] = []
    ring.append({"a": ring})
    with pytest.raises(ItemError, match=r"item\[0\]\['a'\].*\.\.\..*contains itself"):
        encode(ring)
    assert '"repr"' in to_json_line("p", "o", ring)
    assert packed(ring, allow_pickle=True)[0] == b"P"
    with pytest.raises(ItemError, match="cannot be decoded"):
        decode(b"J", b"[" * 100_000)


BAD = [
    (b"J", b"[1,", "cannot be decoded"),
    (b"J", b"NaN", "not valid JSON"),
    (b"J", b"\xff", "UnicodeDecodeError"),
    (b"J", b'{"$new":1}', "'\\$new', which this version"),
    (b"J", b'{"$tuple":[],"a":1}', "other keys"),
    (b"J", b'{"$array":0}', "number of one of its 0 parts"),
    (b"J", b'{"$my.Type":1}', "'my.Type', a type that is not registered"),
    (b"A", b"", "npy"),
    (b"A", packed(np.eye(2))[1][:-1], "bytes of .npy"),
    (b"A", packed(np.eye(2))[1].replace(b"'<f8'", b"'|O' "), "Python objects"),
    (b"A", packed(np.eye(2))[1].replace(b"(2, 2)", b"(2,-2)"), "shape"),
    (b"M", b"\xff" * 20, "more parts"),
    (b"M", packed({"a": np.eye(2)})[1][:-1], "add up"),
    (b"Z", b"", "codec b'Z'"),
]


@pytest.mark.parametrize(("tag", "payload", "message"), BAD)
def test_bad_bytes_say_what_is_wrong(tag: bytes, payload: bytes, message: str) -> None:
    with pytest.raises(ItemError, match=message):
        decode(tag, payload)


class Wave:
    def __init__(self, data: Any) -> None:
        self.data = data


def test_registered_types_travel() -> None:
    register(Wave, "test.Wave", lambda wave: {"data": wave.data}, lambda plain: Wave(plain["data"]))
    tag, payload = packed([Wave(np.arange(3))])
    assert tag == b"M"
    assert decode(tag, payload)[0].data.tolist() == [0, 1, 2]
    assert decode(tag, payload, convert=False)[0]["data"].tolist() == [0, 1, 2]
    assert to_json_line("a", "b", Wave((1,))) == '{"pe": "a", "port": "b", "data": {"data": [1]}}'
    assert round_trip({Wave(1)}).pop().data == 1
    with pytest.raises(ItemError, match=r"item\['w'\]\['data'\] is of type .*Odd"):
        encode({"w": Wave(Odd())})
    with pytest.raises(UsageError, match="registered already"):
        register(Odd, "test.Wave", vars, lambda plain: Odd())
    with pytest.raises(UsageError, match=r"registered already, as 'test\.Wave'"):
        register(Wave, "test.Other", vars, Wave)
    with pytest.raises(UsageError, match="give it as"):
        register(Odd, "Odd", vars, lambda plain: Odd())


def test_a_converter_that_raises_is_an_item_error() -> None:
    def fail(_: Any) -> Any:
        raise KeyError("inside")

    class Bad:
        pass

    register(Bad, "test.Bad", fail, fail)
    with pytest.raises(ItemError, match="KeyError: 'inside'"):
        encode([Bad()])
    with pytest.raises(ItemError, match="KeyError: 'inside'"):
        decode(b"J", b'{"$test.Bad":1}')
    assert '"repr"' in to_json_line("p", "o", Bad())


def test_obspy_streams_travel() -> None:
    obspy = pytest.importorskip("obspy")
    stream = obspy.read()
    stream[0].stats.extra = {"a": (1, np.float32(2)), "t": obspy.UTCDateTime(ns=1)}
    stream[0].stats.processing = ["x"]
    stream[1].data = np.ma.array(stream[1].data, mask=stream[1].data > 1000)
    tag, payload = packed({"st": stream, "t": stream[0].stats.starttime})
    assert tag == b"M"
    back = decode(tag, payload)
    assert type(back["st"]) is obspy.Stream
    assert back["st"] == stream
    assert type(back["st"][0].stats.extra) is obspy.core.AttribDict
    assert vars(back["st"][0].stats) == vars(stream[0].stats)
    assert packed(back) == (tag, payload)
    back["st"][0].detrend("demean")
    shown = json.loads(to_json_line("p", "o", stream))["data"]["traces"][0]
    assert shown["stats"]["starttime"] == "2009-08-24T00:20:03.000000000Z"
    assert len(shown["data"]) == len(stream[0])
    viewed = decode(tag, payload, convert=False)
    assert to_json_line("p", "o", viewed["st"]) == to_json_line("p", "o", stream)
    response = back["st"][0].stats.response
    assert response == stream[0].stats.response
    assert np.array_equal(
        response.get_evalresp_response_for_frequencies([1.0]),
        stream[0].stats.response.get_evalresp_response_for_frequencies([1.0]),
    )
    stream[0].stats.event = type("Own", (obspy.core.event.Event,), {})()
    with pytest.raises(ItemError, match=r"item\['stats'\]\['event'\] is of type .*Own"):
        encode(stream[0])


def states(thing: object) -> object:
    """All that an obspy object consists of, but for where its resource ids look."""
    if hasattr(thing, "__dict__") and not isinstance(thing, type):
        kept = {k: states(v) for k, v in vars(thing).items() if not k.endswith(("_key__", "_id__"))}
        kept.pop("_object_id", None)
        return type(thing), kept
    if isinstance(thing, (list, tuple)):
        return type(thing), [states(part) for part in thing]
    if isinstance(thing, dict):
        return type(thing), [(key, states(value)) for key, value in thing.items()]
    return type(thing), thing


def full_catalog() -> Any:
    """Every kind of part that an event has, each attribute of a type of its own."""
    obspy = pytest.importorskip("obspy")
    from obspy.core import event as e

    info = e.CreationInfo(agency_id="XX", author="é", creation_time=obspy.UTCDateTime(ns=123456789))
    pick = e.Pick(
        time=obspy.UTCDateTime(2016, 10, 30, 6, 40, 18, 1),
        waveform_id=e.WaveformStreamID("IV", "NRCA", "", "HHZ"),
        time_errors=e.QuantityError(uncertainty=0.1, confidence_level=90.0),
        comments=[e.Comment("a pick", creation_info=info)],
    )
    origin = e.Origin(
        resource_id="smi:local/origin/1",
        latitude=42.8,
        longitude=13.1,
        depth=9200.0,
        time=obspy.UTCDateTime("2016-10-30T06:40:18.000001"),
        arrivals=[e.Arrival(pick_id=pick.resource_id, phase="P")],
        quality=e.OriginQuality(azimuthal_gap=33.0),
        origin_uncertainty=e.OriginUncertainty(confidence_ellipsoid=e.ConfidenceEllipsoid(1.0)),
        composite_times=[e.CompositeTime(year=2016)],
    )
    magnitude = e.Magnitude(
        mag=6.5,
        magnitude_type="Mw",
        origin_id=origin.resource_id,
        station_magnitude_contributions=[e.StationMagnitudeContribution(weight=0.0)],
    )
    mechanism = e.FocalMechanism(
        nodal_planes=e.NodalPlanes(nodal_plane_1=e.NodalPlane(strike=150.0)),
        principal_axes=e.PrincipalAxes(t_axis=e.Axis(azimuth=1.0)),
        moment_tensor=e.MomentTensor(
            tensor=e.Tensor(m_rr=1e18),
            source_time_function=e.SourceTimeFunction(type="triangle"),
            data_used=[e.DataUsed(wave_type="body waves")],
        ),
    )
    event = e.Event(
        event_type="earthquake",
        event_descriptions=[e.EventDescription("Norcia", "region name")],
        comments=[e.Comment("felt")],
        picks=[pick],
        origins=[origin],
        magnitudes=[magnitude],
        station_magnitudes=[e.StationMagnitude(mag=6.4)],
        amplitudes=[e.Amplitude(generic_amplitude=1.0, time_window=e.TimeWindow(begin=1.0))],
        focal_mechanisms=[mechanism],
        creation_info=info,
    )
    event.preferred_origin_id = origin.resource_id
    event.preferred_magnitude_id = magnitude.resource_id.id
    event.extra = OrderedDict(
        z={"value": {"nested": {"value": [1, 2.5, None]}}, "namespace": "http://x"},
        a=obspy.core.AttribDict(value=True),
    )
    return e.Catalog([event, e.Event()], description="two", comments=[e.Comment("c")])


def test_obspy_events_travel() -> None:
    catalog = full_catalog()
    item = {"catalog": catalog, "rest": [catalog[0], catalog[0].origins[0], catalog.resource_id]}
    back = round_trip(item)
    assert states(back) == states(item)
    assert packed(back) == packed(item)
    assert packed(item) == packed(copy.deepcopy(item))
    for event in (back["catalog"][0], back["rest"][0]):
        assert event.preferred_origin() is event.origins[0]
        assert event.preferred_magnitude() is event.magnitudes[0]
        assert event.origins[0].arrivals[0].pick_id.get_referred_object() is event.picks[0]
        assert event.resource_id.get_referred_object() is event
    origin = back["rest"][1]
    assert origin.resource_id.get_referred_object() is origin
    assert back["catalog"].resource_id.get_referred_object() is back["catalog"]
    shown = json.loads(to_json_line("p", "o", catalog))["data"]["events"][0]
    assert shown["origins"][0]["time"] == "2016-10-30T06:40:18.000001000Z"
    assert shown["magnitudes"][0]["mag"] == 6.5


def test_what_an_event_would_lose_is_named() -> None:
    catalog = full_catalog()
    catalog[0].picks[0].comments[0].extra = {"who": {"value": object()}}
    with pytest.raises(
        ItemError, match=r"item\['events'\]\[0\]\['picks'\]\[0\]\['comments'\]\[0\]\['extra'\]"
    ):
        encode(catalog)


@pytest.mark.parametrize(
    "text",
    [
        '{"$obspy.event.Event":[1,2]}',
        '{"$obspy.event.Event":{"scope_resource_ids":7}}',
        '{"$obspy.event.Catalog":{}}',
        '{"$obspy.event.Origin":{"resource_id":"x"}}',
        '{"$obspy.event.ResourceIdentifier":7}',
        '{"$obspy.event.ResourceIdentifier":["a"]}',
        '{"$obspy.event.ResourceIdentifier":["a",7]}',
        '{"$obspy.event.ResourceIdentifier":[7,"a"]}',
        '{"$obspy.event.NoSuch":{}}',
    ],
)
def test_events_of_strangers_are_errors(text: str) -> None:
    pytest.importorskip("obspy")
    with pytest.raises(ItemError):
        decode(b"J", text.encode())


def test_obspy_inventories_travel() -> None:
    obspy = pytest.importorskip("obspy")
    inventory = obspy.read_inventory()
    back = round_trip({"inventory": inventory})["inventory"]
    assert back == inventory
    assert str(back) == str(inventory)
    assert type(back[0][0].latitude) is type(inventory[0][0].latitude)
    assert vars(back[0][0].latitude) == vars(inventory[0][0].latitude)
    assert len(back.select(station="WET")) == 1


@pytest.mark.parametrize("ns", [0, -1, 1477809618000000001, -(10**21), 10**19 * 7])
@pytest.mark.parametrize("precision", [6, 9])
def test_obspy_times_keep_every_nanosecond(ns: int, precision: int) -> None:
    obspy = pytest.importorskip("obspy")
    back = round_trip([obspy.UTCDateTime(ns=ns, precision=precision)])[0]
    assert (back.ns, back.precision) == (ns, precision)


LINES = [
    ((1, [2.5]), "[1, [2.5]]"),
    ({3, 1}, "[1, 3]"),
    (np.array([[1, 2]]), "[[1, 2]]"),
    (np.array([1.0, np.nan]), "[1.0, null]"),
    (np.float32(0.5), "0.5"),
    (np.ma.array([1, 2], mask=[0, 1]), "[1, null]"),
    (np.ma.masked, "null"),
    (np.array([("a", 1)], dtype=[("s", "U1"), ("n", "i4")]), '[{"s": "a", "n": 1}]'),
    (np.array(["2020-01-01", "NaT"], "M8[s]"), '["2020-01-01T00:00:00", null]'),
    (np.datetime64("2020-01-01T00:00:00.5", "ms"), '"2020-01-01T00:00:00.500"'),
    (np.array([1500, "NaT"], "m8[ms]"), "[1.5, null]"),
    (np.timedelta64(2, "Y"), "2"),
    (np.ma.array([1, 2], "m8[s]", mask=[1, 0]), "[null, 2.0]"),
    (np.longdouble(0.5), "0.5"),
    (np.array([1 + 2j]), "[[1.0, 2.0]]"),
    (np.array([None, "a"], dtype=object), '[null, "a"]'),
    (np.array(["a"], dtype=np.dtypes.StringDType()), '["a"]'),
    (np.void(b"ab"), '"YWI="'),
    (b"ab", '"YWI="'),
    (memoryview(b"ab"), '"YWI="'),
    (float("inf"), "null"),
    ({"a": float("nan")}, '{"a": null}'),
    (dt.timedelta(minutes=1), "60.0"),
    (dt.datetime(2020, 1, 1), '"2020-01-01T00:00:00"'),
    ({1: 2, None: 3, (1, 2): 4, b"a": 5}, '{"1": 2, "null": 3, "[1, 2]": 4, "YQ==": 5}'),
    (Point(1, 2), "[1, 2]"),
    (Level.HIGH, "1"),
    (Decimal("1.5"), '"1.5"'),
    (slice(1, None), "[1, null, null]"),
    ("\u2028\x85\ud800\u00fc", '"\\u2028\\u0085\ufffd\u00fc"'),
    (10**5000, f'"{hex(10**5000)}"'),
]


@pytest.mark.parametrize(("item", "data"), LINES, ids=lambda value: str(type(value).__name__))
def test_json_lines(item: Any, data: str) -> None:
    assert to_json_line("p", "o", item) == f'{{"pe": "p", "port": "o", "data": {data}}}'


class BadRepr:
    def __repr__(self) -> str:
        raise ValueError


def test_json_lines_show_the_rest_by_repr() -> None:
    assert to_json_line("p", "o", [Color.RED]).endswith('"repr": "[<Color.RED: 1>]"}')
    assert "whose repr raises ValueError" in to_json_line("p", "o", BadRepr())
    assert '"repr"' in to_json_line("p", "o", {1: "a", "1": "b"})
    assert '"repr"' in to_json_line("p", "o", np.dtype("f8"))
    assert "\n" not in to_json_line("p", "o", nested(1000, list))


def test_import_is_light() -> None:
    code = (
        "import sys, d4pcwl.streams.writer, d4pcwl.cli.stream;"
        "sys.exit(bool({'numpy', 'obspy', 'pickle'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pickles_of_the_codec_are_protocol_5() -> None:
    assert pickle.loads(packed(Pick(2.0), allow_pickle=True)[1]) == Pick(2.0)
    assert packed(Pick(2.0), allow_pickle=True)[1][:2] == b"\x80\x05"
