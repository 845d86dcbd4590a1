"""The PEs: ObsPy's streams come in, numbers and files go out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from d4pcwl.errors import GraphError, PEError, nearest
from d4pcwl.library.files import WriteFile
from d4pcwl.workflow.pe import IterativePE

if TYPE_CHECKING:
    from obspy import Stream  # type: ignore

    from d4pcwl.seismology.motion import Samples

_NORMS = ("mean", "max", "geometric")


class ReadStream(IterativePE):
    """Reads the waveforms of a file, in any format that ObsPy knows.

    :param format: the name of the format; None: ObsPy finds it out
    :param folder: where relative paths begin; None: the working folder

    Input: paths. Output: ObsPy's ``Stream`` objects, one for each file.
    """

    cwl = {"inputs": {"input": {"type": "File"}}}

    def __init__(
        self, format: str | None = None, folder: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__()
        self.format, self.folder = format, os.fspath(folder or "")

    def _process(self, path: str) -> Stream:
        try:
            from obspy import read
        except ImportError:
            raise PEError("ObsPy is not installed: pip install 'd4pcwl[seismology]'") from None
        return read(os.path.join(self.folder, path), format=self.format)


class _Horizontals(IterativePE):
    """The base of PEs that make numbers of two horizontal components.

    :param norms: some of ``mean``, ``max``, ``geometric``
    """

    def __init__(self, norms: Sequence[str] = _NORMS) -> None:
        super().__init__()
        for unknown in [name for name in norms if name not in _NORMS]:
            raise GraphError(
                f"{type(self).__name__}: no norm is called {unknown}{nearest(unknown, _NORMS)}"
            )
        self.norms = tuple(norms)

    def _process(self, data: Stream) -> None:
        from d4pcwl.seismology.motion import peaks

        first, second, dt = horizontals(data)
        station = ".".join((data[0].stats.network, data[0].stats.station))
        made = peaks(self.series(first, dt), self.series(second, dt), self.norms)
        for kind, values in made.items():
            self.write("output", {"station": station, "norm": kind, **values})

    def series(self, samples: Samples, dt: float) -> dict[str, Samples]:
        """The series of a component whose peaks are wanted, by name."""
        raise NotImplementedError


class Norm(_Horizontals):
    """Computes one peak of two horizontal components, in some norms.

    :param norms: some of ``mean``, ``max``, ``geometric``

    Input: streams with two horizontal traces. Output: dictionaries with ``station``, ``norm`` and
    ``peak``, in the unit of the samples; one for each norm.
    """

    def series(self, samples: Samples, dt: float) -> dict[str, Samples]:
        return {"peak": samples}


class PeakGroundMotion(_Horizontals):
    """Computes the peaks of acceleration, velocity and displacement.

    :param norms: some of ``mean``, ``max``, ``geometric``

    Input: streams with two horizontal traces of velocity, in m/s. Output: dictionaries with
    ``station``, ``norm``, ``PGA`` (m/s2), ``PGV`` (m/s) and ``PGD`` (m); one for each norm.
    """

    def series(self, samples: Samples, dt: float) -> dict[str, Samples]:
        from d4pcwl.seismology.motion import ground_series

        return ground_series(samples, dt)


class SpectralAcceleration(_Horizontals):
    """Computes the pseudo-spectral acceleration of damped oscillators.

    :param frequencies: their natural frequencies, in Hz
    :param damping: as a fraction of the critical damping
    :param norms: some of ``mean``, ``max``, ``geometric``

    Input: streams with two horizontal traces of velocity, in m/s. Output: dictionaries with
    ``station``, ``norm`` and, for each frequency, such as ``PSA_0.3Hz`` (m/s2); one for each norm.
    """

    def __init__(
        self,
        frequencies: Sequence[float] = (0.3, 1.0, 3.0),
        damping: float = 0.1,
        norms: Sequence[str] = _NORMS,
    ) -> None:
        super().__init__(norms)
        if not all(frequency > 0 for frequency in frequencies) or not 0 < damping < 1:
            raise GraphError(
                "SpectralAcceleration: frequencies must be more than 0, and damping less than 1"
            )
        self.frequencies, self.damping = tuple(frequencies), damping

    def series(self, samples: Samples, dt: float) -> dict[str, Samples]:
        from d4pcwl.seismology.motion import spectral_series

        return spectral_series(samples, dt, self.frequencies, self.damping)


class GeoJSON(WriteFile):
    """Writes a GeoJSON file with a point for each item (RFC 7946).

    :param path: the file

    Input: dictionaries with ``longitude`` and ``latitude`` in degrees; the rest are properties of
    the point. Output: a dictionary with ``path``, ``items``, ``bytes`` and ``sha256``.
    """

    def __init__(self, path: str | os.PathLike[str] = "stations.geojson") -> None:
        super().__init__(path)

    def begin(self, file: IO[bytes]) -> None:
        self.file = file
        file.write(b'{"type": "FeatureCollection", "features": [')

    def put(self, item: Mapping[str, Any]) -> None:
        import json

        text = json.dumps(feature(item), ensure_ascii=False, allow_nan=False)
        self.file.write(f"{',' if self.items else ''}\n{text}".encode())

    def end(self) -> None:
        self.file.write(b"\n]}\n")


class ShakeMap(WriteFile):
    """Draws a map of ground motion: stations, values between them, and coasts.

    :param path: the PNG file
    :param quantity: the key of the value that is shown, such as ``PGA``
    :param unit: its unit, for people
    :param epicentre: longitude and latitude of a star, in degrees

    Between stations, the logarithm is interpolated linearly in Delaunay triangles; nothing is
    painted outside of them.

    Input: dictionaries with ``station``, ``longitude`` and ``latitude`` in degrees, and the
    quantity, which is not below 0. Output: a dictionary with ``path``, ``items``, ``bytes`` and
    ``sha256``.

    State: a few numbers for each station.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "shakemap.png",
        quantity: str = "PGA",
        unit: str = "m/s²",
        epicentre: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(path)
        self.quantity, self.unit, self.epicentre = quantity, unit, epicentre

    def begin(self, file: IO[bytes]) -> None:
        self.file = file
        self.names: list[str] = []
        self.places: list[Sequence[float]] = []
        self.values: list[float] = []

    def put(self, item: Mapping[str, Any]) -> None:
        self.places.append(feature(item)["geometry"]["coordinates"])
        name, value = str(item["station"]), float(item[self.quantity])
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name}: {self.quantity} is {value}, and not a number from 0 on")
        self.names.append(name)
        self.values.append(value)

    def end(self) -> None:
        if not self.names:
            raise ValueError("no station came: there is no map to draw")
        try:
            from d4pcwl.seismology.shakemap import Sites, one_map
        except ImportError:
            raise PEError("numpy is not installed: pip install 'd4pcwl[seismology]'") from None
        longitudes, latitudes = zip(*self.places, strict=True)
        sites = Sites(self.names, longitudes, latitudes)
        label = f"{self.quantity} in {self.unit}"
        self.file.write(one_map(sites, self.values, label, self.epicentre))


def feature(item: Mapping[str, Any]) -> dict[str, Any]:
    """The feature of a place: a point, longitude first.

    :raises ValueError: longitude or latitude is not there, or no place on Earth
    """
    try:
        longitude, latitude = float(item["longitude"]), float(item["latitude"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"no longitude and latitude are in {dict(item)!r}") from None
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise ValueError(f"longitude {longitude}, latitude {latitude} is not a place on Earth")
    rest = {name: value for name, value in item.items() if name not in ("longitude", "latitude")}
    point = {"type": "Point", "coordinates": [longitude, latitude]}
    return {"type": "Feature", "geometry": point, "properties": rest}


def horizontals(stream: Stream) -> tuple[Samples, Samples, float]:
    """The samples of two horizontal traces, in the order of their channels, and the time step in s.

    :raises ValueError: there are not two, or they do not fit together
    """
    chosen = sorted(
        (trace for trace in stream if not trace.stats.channel.endswith("Z")),
        key=lambda trace: trace.stats.channel,
    )
    if len(chosen) != 2:
        raise ValueError(f"two horizontal traces are needed, and {len(chosen)} are in {stream}")
    first, second = chosen
    alike = ("sampling_rate", "npts", "starttime")
    if different := [name for name in alike if first.stats[name] != second.stats[name]]:
        raise ValueError(f"{first.id} and {second.id} differ in {', '.join(different)}")
    return first.data, second.data, first.stats.delta
