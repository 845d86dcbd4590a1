"""Items are values: copies share nothing that can change, and what cannot change is not copied."""

from __future__ import annotations

import copy
import datetime
import threading
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4pcwl.runtime.engine.values import IMMUTABLE, snapshot, weight

Point = namedtuple("Point", "x y")


@dataclass
class Box:
    items: list[Any] = field(default_factory=list)


class Text(str):
    """A string that can carry attributes."""


@pytest.mark.parametrize(
    "item",
    [
        *(None, True, 1, 1.5, 1j, "a", b"a", range(3), datetime.date(2020, 1, 1), Fraction(1, 3)),
        *(Path("/a"), int, len, copy.copy, (), (1, "a")),
    ],
)
def test_what_cannot_change_is_passed_on(item: Any) -> None:
    assert snapshot(item) is item


@pytest.mark.parametrize(
    ("item", "change"),
    [
        ([1], lambda item: item.append(2)),
        ([[1]], lambda item: item[0].append(2)),
        ({"a": 1}, lambda item: item.update(b=2)),
        ({"a": {"b": [1]}}, lambda item: item["a"]["b"].append(2)),
        (([1],), lambda item: item[0].append(2)),
        ({1}, lambda item: item.add(2)),
        (bytearray(b"a"), lambda item: item.append(1)),
        ([bytearray(b"a")], lambda item: item[0].append(1)),
        (deque([1]), lambda item: item.append(2)),
        (OrderedDict(a=[1]), lambda item: item["a"].append(2)),
        (defaultdict(list, a=[1]), lambda item: item["a"].append(2)),
        (Point([1], 2), lambda item: item.x.append(2)),
        (Box([1]), lambda item: item.items.append(2)),
        ([Box([1])], lambda item: item[0].items.append(2)),
        ({"a": (Box([1]),)}, lambda item: item["a"][0].items.append(2)),
        (ValueError([1]), lambda item: item.args[0].append(2)),
    ],
)
def test_copies_do_not_see_changes(item: Any, change: Any) -> None:
    own = snapshot(item)
    assert type(own) is type(item)
    before = repr(own)
    assert before == repr(item)
    change(item)
    assert repr(own) == before != repr(item)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6)[::2],
        np.array(3),
        np.array(["a", "b"]),
        np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        np.array([[1], "a"], dtype=object),
        np.ma.masked_array([1, 2], [0, 1]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
    ],
)
def test_arrays(array: Any) -> None:
    own = snapshot(array)
    assert type(own) is type(array)
    assert own.dtype == array.dtype
    assert repr(own) == repr(array)
    assert not np.shares_memory(own, array)
    if array.dtype == object:
        array[0].append(2)
        assert own[0] == [1]


def test_one_object_met_twice_stays_one() -> None:
    shared = [1]
    own = snapshot([shared, {"a": shared}])
    assert own[0] is own[1]["a"]
    assert own[0] is not shared


def test_circles() -> None:
    item: list[Any] = [1]
    item.append(item)
    own = snapshot(item)
    assert own[1] is own
    assert own is not item


def test_subclasses_keep_what_they_carry() -> None:
    text = Text("a")
    text.notes = [1]  # type: ignore[attr-defined]
    own = snapshot(text)
    text.notes.append(2)  # type: ignore[attr-defined]
    assert (own, own.notes) == ("a", [1])


@pytest.mark.parametrize(
    "item", [threading.Lock(), [threading.Lock()], {"a": ({}, threading.Lock())}]
)
def test_what_cannot_be_copied_raises(item: Any) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        snapshot(item)


ITEMS = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(ITEMS)
def test_snapshot_is_a_deep_copy(item: Any) -> None:
    def changeable(value: Any) -> set[int]:
        if type(value) in IMMUTABLE:
            return set()
        parts = value.values() if isinstance(value, dict) else value
        own = set() if isinstance(value, tuple) else {id(value)}
        return own.union(*map(changeable, parts))

    own = snapshot(item)
    assert own == item
    assert changeable(own).isdisjoint(changeable(item))


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _circle(text: str) -> list[Any]:
    circle: list[Any] = [text]
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    ("item", "least", "most"),
    [
        (1, 1, 100),
        ("a" * 1000, 1000, 1100),
        (np.zeros(1000), 8000, 8100),
        ({"a": np.zeros(1000)}, 8000, 9000),
        ([np.zeros(1000) for _ in range(50)], 400_000, 500_000),
        ([np.zeros(1000)] * 50, 8000, 9000),  # one array, and so it is when it is pickled
        (Box([np.zeros(1000)]), 8000, 9000),
        ([], 1, 100),
        (object(), 1, 10_000),
        ([[[[["deep" * 1000]]]]], 4000, 5000),
        ("é" * 1000, 1000, 2100),
        (bytearray(1000), 1000, 1100),
        (1 << 8000, 1000, 1200),
        ((*range(20), "late" * 1000), 4000, 5000),
        ([*range(20), 1 << 80_000], 10_000, 13_000),
        ({"key" * 1000: 1}, 3000, 3500),
        (frozenset(["a" * 1000]), 1000, 1500),
        ({"a": [("b", {"c": b"d" * 1000})]}, 1000, 2000),
        (np.array(["a" * 1000], dtype=object), 1000, 1500),
        (np.zeros(8000)[::8], 8000, 8100),
        (Fraction(1 << 8000), 1000, 1500),
        (PurePosixPath("a" * 1000), 1000, 2500),
        (Slotted("a" * 1000), 1000, 1500),
        (deque(["a" * 1000]), 1000, 1500),
        (OrderedDict(a="b" * 1000), 1000, 1500),
        (_circle("a" * 1000), 1000, 1500),
    ],
)
def test_weight(item: Any, least: int, most: int) -> None:
    assert least <= weight(item) <= most
