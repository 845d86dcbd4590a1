"""Pickles of items and of what PEs keep."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from typing import Any


def dumps(
    message: Any, keep_apart: Callable[[pickle.PickleBuffer], bool | None] | None = None
) -> bytes:
    """The pickle of an object.

    Objects of obspy have the same form as in stream files. Its own pickles are slower, and lose the
    references of resource ids in an event.

    :param keep_apart: takes the buffers that do not go into the pickle
    """
    if "obspy.core" not in sys.modules:
        return pickle.dumps(message, 5, buffer_callback=keep_apart)
    from d4pcwl.streams.converters import obspy_reducers

    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5, buffer_callback=keep_apart)
    pickler.dispatch_table = obspy_reducers()
    pickler.dump(message)
    return buffer.getvalue()
