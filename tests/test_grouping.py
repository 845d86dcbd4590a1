"""Groupings: what may be written, and who owns a key."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
from collections import Counter, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4pcwl.errors import GraphError
from d4pcwl.workflow.grouping import (
    ALL,
    GLOBAL,
    SHUFFLE,
    GroupBy,
    freeze,
    parse_grouping,
    stable_hash,
)

Point = namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (None, SHUFFLE),
        ([], SHUFFLE),
        ("", SHUFFLE),
        ("shuffle", SHUFFLE),
        ("all", ALL),
        ("ALL", ALL),
        ("global", GLOBAL),
        ([0], GroupBy("group-by", (0,))),
        ((0, "key"), GroupBy("group-by", (0, "key"))),
        ("key", GroupBy("group-by", ("key",))),
        (0, GroupBy("group-by", (0,))),
        (2, GroupBy("group-by", (2,))),
        (["all"], GroupBy("group-by", ("all",))),
    ],
)
def test_forms(declared: Any, expected: Any) -> None:
    assert parse_grouping(declared, "pe.port") == expected


@pytest.mark.parametrize("declared", [1.5, True, {"key": 1}, [1.5], [None], object()])
def test_what_is_no_grouping(declared: Any) -> None:
    with pytest.raises(GraphError, match=r"pe\.port: the grouping .* is not known; give a list"):
        parse_grouping(declared, "pe.port")


def test_str() -> None:
    assert [str(g) for g in (SHUFFLE, ALL, GLOBAL, GroupBy("group-by", (0, "a")))] == [
        "shuffle",
        "all",
        "global",
        "group-by [0, 'a']",
    ]


NOON = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)
EAST = datetime.timezone(datetime.timedelta(hours=2))


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (
            [1, 1.0, True, 1 + 0j, decimal.Decimal("1.00"), fractions.Fraction(1)],
            [2, "1", (1,), b"1", None, 1.5],
        ),
        ([0.5, decimal.Decimal("0.5"), fractions.Fraction(1, 2), 0.5 + 0j], [0.5 + 1j, -0.5]),
        ([decimal.Decimal("0.1"), fractions.Fraction(1, 10)], [0.1]),
        ([10**400, decimal.Decimal("1e400"), fractions.Fraction(10**400)], [10**401]),
        ([decimal.Decimal("1e999999"), decimal.Decimal("10e999998")], [decimal.Decimal("1e999")]),
        ([fractions.Fraction(10**400, 3)], [fractions.Fraction(10**401, 3)]),
        ([0, 0.0, -0.0, False], [None, "", ()]),
        (["a"], [b"a", ("a",), frozenset("a")]),
        ([("a", "b")], [("ab",), ("a", ("b",)), "ab"]),
        ([frozenset("abc"), frozenset("cba")], [frozenset("ab"), ("a", "b", "c")]),
        ([10**30, float(10**30) if float(10**30) == 10**30 else 10**30], [10**30 + 1]),
        ([float("inf"), decimal.Decimal("Infinity")], [float("-inf"), float("nan")]),
        ([NOON, NOON.astimezone(EAST)], [NOON.replace(tzinfo=EAST), NOON.replace(tzinfo=None)]),
        ([NOON.timetz(), datetime.time(14, tzinfo=EAST)], [datetime.time(12), NOON]),
        ([pathlib.Path("a/b"), pathlib.PurePosixPath("a//b")], ["a/b", pathlib.Path("a")]),
        ([datetime.date(2020, 1, 2)], [datetime.date(2020, 1, 3)]),
        ([decimal.Decimal("1.5")], [decimal.Decimal("2.5")]),
        ([Colour.RED], [1]),
        (["\ud800"], ["\ud801"]),
        ([Point(1, 2), (1, 2)], [(2, 1)]),
    ],
)
def test_equal_keys_hash_alike(same: list[Any], other: list[Any]) -> None:
    assert len(set(same)) == 1
    hashes = set(map(stable_hash, same))
    assert len(hashes) == 1
    assert hashes.isdisjoint(map(stable_hash, other))


def test_hash_is_what_it_was() -> None:
    """Keyed shards of separate steps, and versions, have to agree."""
    keys = ["sea", 1, (1, "a"), None, 0.1, 2j, float("inf"), datetime.date(2020, 1, 2)]
    assert [stable_hash(key) % 1000 for key in keys] == [315, 659, 578, 853, 748, 389, 200, 559]


def test_a_key_without_a_stable_form_is_refused() -> None:
    with pytest.raises(TypeError, match="a key of type object cannot be hashed in the same way"):
        stable_hash(object())


def test_freeze() -> None:
    import numpy as np

    for value, expected in [
        ([1, [2]], (1, (2,))),
        ({"a": [1]}, frozenset({("a", (1,))})),
        ({1, 2}, frozenset({1, 2})),
        (bytearray(b"a"), b"a"),
        (np.int64(3), 3),
        (np.longdouble(1.5), 1.5),
        (np.array([[1, 2]]), ((1, 2),)),
    ]:
        assert freeze(value) == expected
        assert stable_hash(freeze(value)) == stable_hash(expected)


KEYS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)


@given(KEYS, KEYS)
def test_hashes_are_equal_exactly_where_keys_are(first: Any, second: Any) -> None:
    assert (stable_hash(first) == stable_hash(second)) == (first == second)


def test_owners_are_spread_and_remembered() -> None:
    owner = GroupBy("group-by", (0,)).owner(4)
    items = [(f"key {n}", n) for n in range(4000)]
    found = list(map(owner, items))
    assert set(Counter(found)) == {0, 1, 2, 3}
    assert min(Counter(found).values()) > 800
    assert list(map(owner, items)) == found


def test_memory_of_owners_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d4pcwl.workflow.grouping._REMEMBERED_KEYS", 3)
    owner = GroupBy("group-by", (0,)).owner(4)
    first = [owner((n,)) for n in range(10)]
    (known,) = (c.cell_contents for c in owner.__closure__ if isinstance(c.cell_contents, dict))
    assert len(known) <= 3
    assert [owner((n,)) for n in range(10)] == first


def test_which_of_equal_keys_came_first_does_not_matter() -> None:
    keys = [1, decimal.Decimal(1), fractions.Fraction(1), 1.0, True]
    owners = (GroupBy("group-by", (0,)).owner(1000) for _ in keys)
    assert len({owner((key,)) for owner, key in zip(owners, keys, strict=True)}) == 1
