"""The preprocessing of one station, as three functions from item to item.

Items are plain data: dicts of strings, numbers and arrays, with waveforms as in ra_traces. `data`
and `synt` hold the components {"E", "N", "Z"} of the observed and the synthetic waveforms before
the rotation and {"R", "T", "Z"} after it.
"""

from __future__ import annotations

from typing import Any

from ra_chains import apply_chain
from ra_geometry import read_stationxml, rotate
from ra_sampling import common_window
from ra_traces import PlainTrace

PARTS = {"data": "data_processing", "synt": "synthetics_processing"}
Item = dict[str, Any]


def align(item: Item) -> Item:
    """All six components at one rate in one window."""
    keys = [(part, component) for part in PARTS for component in item[part]]
    traces = common_window(item[part][component] for part, component in keys)
    aligned: dict[str, dict[str, PlainTrace]] = {part: {} for part in PARTS}
    for (part, component), trace in zip(keys, traces, strict=True):
        aligned[part][component] = trace
    return {**item, **aligned}


def filter_and_correct(item: Item) -> Item:
    """Each component after its chain; the StationXML is used up here and not passed on."""
    inventory = read_stationxml(item["stationxml"], item["station"])
    processed = {
        part: {
            component: apply_chain(trace, item["settings"][chain], inventory)
            for component, trace in item[part].items()
        }
        for part, chain in PARTS.items()
    }
    rest = {key: value for key, value in item.items() if key != "stationxml"}
    return {**rest, **processed}


def to_ray(item: Item) -> Item:
    """Components along and across the ray from the source, if the settings ask for it."""
    kept = {key: item[key] for key in ("station", "event", "place")}
    if not item["settings"].get("rotate_to_ZRT", False):
        return {**kept, **{part: item[part] for part in PARTS}}
    rotated = {}
    for part in PARTS:
        north, east = item[part]["N"], item[part]["E"]
        radial, transverse = rotate(
            north["samples"], east["samples"], item["place"]["back_azimuth"]
        )
        rotated[part] = {
            "R": _renamed(north, "R", radial),
            "T": _renamed(north, "T", transverse),
            "Z": item[part]["Z"],
        }
    return {**kept, **rotated}


def horizontals(components: dict[str, PlainTrace]) -> tuple[PlainTrace, PlainTrace]:
    """The two horizontal components: R and T, or E and N where nothing was rotated."""
    first, second = (components[name] for name in sorted(components) if name != "Z")
    return first, second


def _renamed(trace: PlainTrace, component: str, samples: Any) -> PlainTrace:
    return {**trace, "id": trace["id"][:-1] + component, "samples": samples}
