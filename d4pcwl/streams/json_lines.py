"""Results for people and tools: one line of strict JSON for each item.

This is a view, not a codec: a type that JSON does not have is shown as the most similar JSON type,
and other objects by their repr.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from base64 import b64encode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from fractions import Fraction
from typing import Any

from d4pcwl.streams.plain import PATHS, RULES, Lowering, Unencodable, is_plain

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_MOST_VALUES = 100_000
# orders to terminals, line ends to some readers, though not to JSON; what UTF-8 cannot carry
_AWKWARD = re.compile("[\x80-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def to_json_line(pe: str, port: str, item: Any) -> str:
    """One result as a line of JSON: ``{"pe": ..., "port": ..., "data": ...}``, without newline.

    Tuples, sets, ranges and arrays are lists, masked values and floats that are not finite null,
    bytes base64, dates and times ISO 8601, time differences seconds, complex numbers ``[re, im]``,
    keys strings, registered types their plain form. An item with any other object in it is shown as
    ``{"pe": ..., "port": ..., "repr": "..."}``, and so is one with ranges of more than 100,000
    numbers. It never raises an error because of the item.
    """
    try:
        key, text = "data", _view_text(item)
    except Exception:  # noqa: BLE001 - unusual items may raise any error; they are shown by their repr
        key, text = "repr", _dumps(_repr(item))
    line = f'{{"pe": {_dumps(pe)}, "port": {_dumps(port)}, "{key}": {text}}}'
    return line if line.isascii() else _AWKWARD.sub(_escape, line)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    return "\ufffd" if "\ud800" <= character <= "\udfff" else f"\\u{ord(character):04x}"


def _repr(item: Any) -> str:
    try:
        return repr(item)
    except Exception as error:  # noqa: BLE001 - as above
        return f"<{type(item).__name__}, whose repr raises {type(error).__name__}>"


def _view_text(item: Any) -> str:
    kind = type(item)
    if kind is str or kind is int or ((kind is dict or kind is list) and is_plain(item)):
        try:
            return _dumps(item)
        except ValueError:
            pass  # not finite, or too many digits
    return _dumps(_View().lower(item))


class _View(Lowering):
    """The view of one item in JSON. Few bytes must not become many lines. Ranges, and arrays of
    many dimensions or of elements without bytes, may have more values than fit into memory. Up to
    ``left`` of their values are shown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left = _MOST_VALUES

    def spend(self, values: int) -> None:
        """Count values that are shown, but are not stored one by one in the item."""
        self.left -= max(values, 0)
        if self.left < 0:
            raise Unencodable("has too many values")

    def tagged(self, tag: str, plain: Any) -> Any:
        return plain

    def other(self, item: Any, depth: int) -> Any:
        for base, rule in self.rules.items():
            if isinstance(item, base):
                return rule(self, item, depth)
        return super().other(item, depth)

    def numpy(self, item: Any, depth: int) -> Any:
        """Scalars as numbers, arrays as nested lists, records as objects, dates as ISO 8601."""
        import numpy as np

        if item is np.ma.masked:
            return None
        is_array = isinstance(item, np.ndarray)
        if is_array and (item.ndim > 1 or not item.itemsize or item.dtype.names is not None):
            from d4pcwl.streams.arrays import values_in

            self.spend(values_in(item.shape, item.dtype) - 4 * item.nbytes)
        if not is_array and not isinstance(item, np.generic):
            return super().other(item, depth)
        return self._values(item, item.dtype, is_array, depth)

    def _values(self, item: Any, dtype: Any, is_array: bool, depth: int) -> Any:
        import numpy as np

        if dtype.names is not None and not is_array:
            return {name: self.lower(item[name], depth + 1) for name in dtype.names}
        if dtype.names is not None or dtype.kind == "T":
            return (
                [self.lower(value, depth + 1) for value in item]
                if item.ndim
                else self.lower(item[()], depth)
            )
        if dtype.kind == "M":
            shown: Any = np.datetime_as_string(item).astype(object)
            return _blank(item, shown.tolist() if isinstance(shown, np.ndarray) else str(shown))
        if dtype.kind == "m":
            unit, count = np.datetime_data(dtype)
            if unit in ("generic", "Y", "M"):
                return _blank(item, (item.astype("i8") * count).tolist())
            return _blank(item, (item / np.timedelta64(1, "s")).tolist())
        if dtype.kind == "f" and dtype.itemsize > 8:
            item = item.astype("f8")
        elif dtype.kind == "c" and dtype.itemsize > 16:
            item = item.astype("c16")
        elif dtype.kind == "V" and not is_array:
            item = item.tobytes()
        elif dtype.kind in "bif" and type(item) is np.ndarray and np.isfinite(item).all():
            return item.tolist()
        return self.lower(item if type(item) is bytes else item.tolist(), depth + 1)


def _blank(item: Any, shown: Any) -> Any:
    """The values, null where ``item`` is not a time or is masked."""
    import numpy as np

    missing = np.isnat(np.asarray(item)) | np.ma.getmaskarray(np.ma.asarray(item))
    if not np.ndim(item):
        return None if missing.any() else shown
    values = np.array(shown, dtype=object).reshape(np.shape(item))
    values[missing] = None
    return values.tolist()


def _view_mapping(view: Lowering, item: Mapping[Any, Any], depth: int) -> Any:
    shown = view.mapping({_key(view, key, depth): value for key, value in item.items()}, depth)
    if len(shown) != len(item):
        raise Unencodable(
            "has two keys that become the same text in JSON, so one would hide the other"
        )
    return shown


def _key(view: Lowering, key: Any, depth: int) -> str:
    if isinstance(key, str) and not isinstance(key, Enum):
        return str.__str__(key)
    shown = view.lower(key, depth + 1)
    return shown if isinstance(shown, str) else _dumps(shown)


def _view_range(view: Lowering, item: range, depth: int) -> Any:
    assert isinstance(view, _View)
    view.spend((item.stop - item.start) // item.step)
    return list(item)


_PAIRS = frozenset({dict, OrderedDict, Counter, defaultdict})
_View.rules = {
    **{kind: rule for kind, rule in RULES.items() if kind not in _PAIRS},
    str: lambda view, item, depth: str.__str__(item),
    float: lambda view, item, depth: float(item) if math.isfinite(item) else None,
    **dict.fromkeys((Mapping, *_PAIRS), _view_mapping),
    range: _view_range,
    deque: lambda view, item, depth: view.children(item, depth),
    AbstractSet: lambda view, item, depth: view.members(item, depth),
    **dict.fromkeys(
        (bytes, bytearray, memoryview),
        lambda view, item, depth: b64encode(item).decode("ascii"),
    ),
    **dict.fromkeys((dt.datetime, dt.date, dt.time), lambda view, item, depth: item.isoformat()),
    dt.timedelta: lambda view, item, depth: item.total_seconds(),
    **dict.fromkeys((Fraction, *PATHS.values()), lambda view, item, depth: str(item)),
}
