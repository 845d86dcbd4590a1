"""The input files of SPECFEM3D Cartesian 4.1, and its seismograms.

    DATA/CMTSOLUTION                      the source
    DATA/STATIONS                         the receivers
    DATA/Par_file                         the simulation
    DATA/meshfem3D_files/Mesh_Par_file    the mesh: a box of layers under a flat surface
    DATA/meshfem3D_files/interfaces.dat   the tops of the layers, from the lowest to the surface

See its manual, https://specfem3d.readthedocs.io. The programs read Mesh_Par_file and interfaces.dat
line by line, so the order of lines counts there. In Par_file, names count.

The mesh has one element for the shortest wavelength at the surface, which five Gauss-Lobatto-
Legendre points sample well (Komatitsch and Tromp, 1999, Geophys. J. Int. 139, 806-822). There is
no topography and no attenuation; five sides of the box absorb waves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from obspy import UTCDateTime
from ra_layout import SettingsError
from ra_source import MomentTensor
from ra_synthetics import write_synthetic
from ra_utm import utm

#: The narrowest distance of Gauss-Lobatto-Legendre points by the size of an element, for degree 4,
#: and the Courant number that the manual advises.
NARROWEST, COURANT = 0.1727, 0.5
#: The code of SPECFEM3D: x is east, y is north.
COMPONENTS = {"X": "E", "Y": "N", "E": "E", "N": "N", "Z": "Z"}


class Layer(NamedTuple):
    """Thickness in m, density in kg/m3, speeds in m/s."""

    thickness: float
    density: float
    p_speed: float
    s_speed: float


@dataclass(frozen=True)
class Mesh:
    """What mesh_info.json says.

    `box` is (west, east, south, north): UTM metres where `projected`, else degrees. `zone` is the
    UTM zone, negative in the south. `depth` in m, `dt` in s.
    """

    box: tuple[float, float, float, float]
    zone: int
    projected: bool
    depth: float
    dt: float
    model: str

    def place(self, latitude: float, longitude: float) -> tuple[float, float]:
        """(x, y) or (longitude, latitude) of a place, as this mesh counts."""
        return utm(latitude, longitude, self.zone) if self.projected else (longitude, latitude)

    @property
    def sides(self) -> tuple[float, float]:
        """The lengths from west to east and from south to north, in m."""
        west, east, south, north = self.box
        if not self.projected:
            (west, south), (east, north) = (
                utm(*place, self.zone) for place in ((south, west), (north, east))
            )
        return east - west, north - south


@dataclass(frozen=True)
class Grid:
    """How many elements there are: from west to east, south to north, and in each layer; and how
    many processes share them to the east and to the north."""

    east: int
    north: int
    layers: Sequence[int]
    slices: tuple[int, int]


def read_mesh(path: Path) -> Mesh:
    """The mesh of a mesh_info.json; SettingsError says all that is wrong with it."""
    try:
        info = json.loads(path.read_text())
        axes = info["Coordinatesystem"]
        projected = _logical(info["SUPPRESS_UTM_PROJECTION"])
        names = ("x_min", "x_max", "y_min", "y_max")
        if not projected:
            names = ("longitude_min", "longitude_max", "latitude_min", "latitude_max")
        west, east, south, north = (float(axes[name]) for name in names)
        mesh = Mesh(
            (west, east, south, north),
            _zone(axes["EPSG"]),
            projected,
            -float(axes["z_min"]),
            float(info["DT"]),
            str(info["MODEL"]),
        )
    except KeyError as error:
        raise SettingsError(f"{path}: no {error.args[0]!r}") from error
    except (OSError, TypeError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    faults = [
        fault
        for fault, wrong in (
            ("the box has no width", west >= east or south >= north),
            ("z_min is not below the surface", mesh.depth <= 0),
            ("DT is not above 0", mesh.dt <= 0),
            (
                f"MODEL {mesh.model!r}: only 'default', the layers of the mesh",
                mesh.model != "default",
            ),
        )
        if wrong
    ]
    if faults:
        raise SettingsError(f"{path}: {'; '.join(faults)}")
    return mesh


def _logical(text: str) -> bool:
    """A logical of Fortran."""
    found = {".true.": True, ".false.": False}.get(str(text).lower())
    if found is None:
        raise ValueError(f"{text!r} is neither .true. nor .false.")
    return found


def _zone(code: str) -> int:
    """The UTM zone of an EPSG code: 33 of EPSG:32633, -33 of EPSG:32733."""
    number = int(code.rpartition(":")[2])
    hemisphere, zone = divmod(number, 100)
    if hemisphere not in (326, 327) or not 1 <= zone <= 60:
        raise ValueError(f"{code} is no UTM zone on WGS84 (EPSG:32601 to 32660, 32701 to 32760)")
    return zone if hemisphere == 326 else -zone


def read_layers(path: Path, depth: float) -> list[Layer]:
    """The layers down to `depth` (m) of a velocity model, from the surface down.

    `path` is a file of ObsPy's TauP, .tvel: two lines of comment, then depth in km, speeds of P and
    S waves in km/s, and density in g/cm3. A stretch between two depths is a layer with their means.
    SettingsError if it does not reach so deep.
    """
    try:
        rows = np.loadtxt(path, skiprows=2, ndmin=2)[:, :4] * 1000.0
    except (OSError, ValueError, IndexError) as error:
        raise SettingsError(f"{path}: not a velocity model in the form .tvel ({error})") from error
    layers = []
    for (top, *above), (bottom, *below) in pairwise(rows):
        if top < min(bottom, depth):
            p_speed, s_speed, density = (
                float(a + b) / 2 for a, b in zip(above, below, strict=True)
            )
            layers.append(Layer(float(min(bottom, depth) - top), density, p_speed, s_speed))
    if not layers or sum(layer.thickness for layer in layers) < depth * (1 - 1e-9):
        raise SettingsError(f"{path}: the model ends above the bottom of the mesh, {depth:g} m")
    if any(layer.s_speed <= 0 for layer in layers):
        raise SettingsError(f"{path}: a layer of water; SPECFEM3D wants other settings for it")
    return layers


def plan_grid(mesh: Mesh, layers: Sequence[Layer], frequency: float, processes: int) -> Grid:
    """Elements that carry waves up to `frequency` (Hz), shared among `processes`.

    SettingsError if the time step of the mesh is too long for them.
    """
    size = min(layer.s_speed for layer in layers) / frequency
    along = next(n for n in range(math.isqrt(processes), 0, -1) if processes % n == 0)
    slices = (processes // along, along)
    east, north = (
        math.ceil(side / size / parts) * parts
        for side, parts in zip(mesh.sides, slices, strict=True)
    )
    grid = Grid(east, north, [math.ceil(layer.thickness / size) for layer in layers], slices)
    sides = [side / count for side, count in zip(mesh.sides, (east, north), strict=True)]
    longest = min(
        COURANT * NARROWEST * min(*sides, layer.thickness / count) / layer.p_speed
        for layer, count in zip(layers, grid.layers, strict=True)
    )
    if mesh.dt > longest:
        raise SettingsError(
            f"the time step of the mesh, {mesh.dt:g} s, is too long for waves of {frequency:g} Hz: "
            f"{longest:.2g} s at most"
        )
    return grid


def cmtsolution(event: dict[str, Any], tensor: MomentTensor, mesh: Mesh) -> str:
    """The source, its moment in dyn cm. The half duration is what the Global CMT catalogue takes
    for this moment (Ekström et al., 2012, Phys. Earth Planet. Inter. 200-201, 1-9).
    """
    if event["depth"] is None:
        raise SettingsError("a simulation needs the depth of the event")
    time = UTCDateTime(ns=event["time"])
    x, y = mesh.place(event["latitude"], event["longitude"])
    dyne_cm = [1e7 * value for value in tensor]
    half = 1.05e-8 * (1e7 * tensor.moment) ** (1.0 / 3.0)
    seconds = time.second + time.microsecond / 1e6
    place = f"{event['latitude']:.4f} {event['longitude']:.4f} {event['depth']:.2f}"
    size = event["magnitude"] or 0.0
    rows = {
        "event name": time.strftime("%Y%m%d%H%M%S"),
        "time shift": "0.0000",
        "half duration": f"{half:.4f}",
        "latorUTM": f"{y:.6f}",
        "longorUTM": f"{x:.6f}",
        "depth": f"{event['depth']:.4f}",
        **{f"M{name}": f"{m:.6e}" for name, m in zip(MomentTensor._fields, dyne_cm, strict=True)},
    }
    moment = time.strftime("%Y %m %d %H %M")
    head = f"PDE  {moment} {seconds:05.2f} {place} {size:.1f} {size:.1f} event"
    return "\n".join([head, *(f"{name + ':':16}{value}" for name, value in rows.items()), ""])


def stations_file(places: dict[str, dict[str, float]], mesh: Mesh) -> str:
    """The receivers, at the surface: station, network, y, x, elevation and depth in m.

    `places` is {"NET.STA": {"latitude": ..., "longitude": ...}}, in degrees.
    """
    lines = []
    for name, place in sorted(places.items()):
        network, station = name.split(".")
        x, y = mesh.place(place["latitude"], place["longitude"])
        lines.append(f"{station:8} {network:4} {y:18.6f} {x:18.6f} 0.0 0.0\n")
    return "".join(lines)


def mesh_files(mesh: Mesh, layers: Sequence[Layer], grid: Grid) -> dict[str, str]:
    """Mesh_Par_file, interfaces.dat and the interfaces, by name."""
    west, east, south, north = mesh.box
    rising = list(zip(reversed(layers), reversed(grid.layers), strict=True))
    materials, regions, tops, counts = [], [], [], []
    files = {}
    height, below = -sum(layer.thickness for layer in layers), 0
    corners = f"2 2 {west:.6f} {south:.6f} {east - west:.6f} {north - south:.6f}"
    for number, (layer, count) in enumerate(rising, start=1):
        _, density, p_speed, s_speed = layer
        materials.append(f"{number} {density:.1f} {p_speed:.1f} {s_speed:.1f} 9999. 9999. 0 2")
        regions.append(f"1 {grid.east} 1 {grid.north} {below + 1} {below + count} {number}")
        height, below = height + layer.thickness, below + count
        tops += [f"{_fortran(mesh.projected)} {corners}", f"interface_{number}.dat"]
        counts.append(str(count))
        files[f"interface_{number}.dat"] = f"{round(height, 3) + 0.0:.3f}\n" * 4
    files["interfaces.dat"] = "\n".join([str(len(rising)), *tops, *counts, ""])
    files["Mesh_Par_file"] = _settings(
        {
            "LATITUDE_MIN": f"{south:.6f}d0",
            "LATITUDE_MAX": f"{north:.6f}d0",
            "LONGITUDE_MIN": f"{west:.6f}d0",
            "LONGITUDE_MAX": f"{east:.6f}d0",
            "DEPTH_BLOCK_KM": f"{mesh.depth / 1000:.6f}d0",
            "UTM_PROJECTION_ZONE": mesh.zone,
            "SUPPRESS_UTM_PROJECTION": mesh.projected,
            "INTERFACES_FILE": "interfaces.dat",
            "CAVITY_FILE": "no_cavity.dat",
            "NEX_XI": grid.east,
            "NEX_ETA": grid.north,
            "NPROC_XI": grid.slices[0],
            "NPROC_ETA": grid.slices[1],
            "USE_REGULAR_MESH": True,
            "NDOUBLINGS": 0,
            "CREATE_ABAQUS_FILES": False,
            "CREATE_DX_FILES": False,
            "CREATE_VTK_FILES": False,
            "SAVE_MESH_AS_CUBIT": False,
            "LOCAL_PATH": "./DATABASES_MPI",
            "THICKNESS_OF_X_PML": "0.d0",
            "THICKNESS_OF_Y_PML": "0.d0",
            "THICKNESS_OF_Z_PML": "0.d0",
            "NMATERIALS": len(materials),
            **dict.fromkeys(materials),
            "NREGIONS": len(regions),
            **dict.fromkeys(regions),
        }
    )
    return files


def par_file(mesh: Mesh, grid: Grid, seconds: float) -> str:
    """The settings of the simulation, which gives velocity for `seconds` from its begin."""
    return _settings(
        {
            **SIMULATION,
            "UTM_PROJECTION_ZONE": mesh.zone,
            "SUPPRESS_UTM_PROJECTION": mesh.projected,
            "NPROC": grid.slices[0] * grid.slices[1],
            "NSTEP": math.ceil(seconds / mesh.dt),
            "DT": f"{mesh.dt:g}",
            "MODEL": mesh.model,
        }
    )


def _settings(values: dict[str, Any]) -> str:
    """Lines NAME = value; a line of its own for a name without a value."""
    return "".join(
        f"{name}\n" if value is None else f"{name:31} = {_fortran(value)}\n"
        for name, value in values.items()
    )


def _fortran(value: Any) -> str:
    return f".{str(value).lower()}." if isinstance(value, bool) else str(value)


#: All that SPECFEM3D 4.1.1 wants to find in its Par_file; what is of no use here is off.
SIMULATION: dict[str, Any] = {
    "SIMULATION_TYPE": 1,
    "NOISE_TOMOGRAPHY": 0,
    "SAVE_FORWARD": False,
    "INVERSE_FWI_FULL_PROBLEM": False,
    "UTM_PROJECTION_ZONE": 0,
    "SUPPRESS_UTM_PROJECTION": False,
    "NPROC": 1,
    "NSTEP": 1,
    "DT": 1,
    "LTS_MODE": False,
    "PARTITIONING_TYPE": 1,
    "USE_LDDRK": False,
    "INCREASE_CFL_FOR_LDDRK": False,
    "RATIO_BY_WHICH_TO_INCREASE_IT": 1.4,
    "NGNOD": 8,
    "MODEL": "default",
    "TOMOGRAPHY_PATH": "./DATA/tomo_files/",
    "SEP_MODEL_DIRECTORY": "./DATA/sep_model/",
    **dict.fromkeys(
        ("APPROXIMATE_OCEAN_LOAD", "TOPOGRAPHY", "ATTENUATION", "ANISOTROPY", "GRAVITY"), False
    ),
    "ATTENUATION_f0_REFERENCE": "1.d0",
    "MIN_ATTENUATION_PERIOD": "999999998.d0",
    "MAX_ATTENUATION_PERIOD": "999999999.d0",
    "COMPUTE_FREQ_BAND_AUTOMATIC": True,
    "USE_OLSEN_ATTENUATION": False,
    "OLSEN_ATTENUATION_RATIO": 0.05,
    "PML_CONDITIONS": False,
    "PML_INSTEAD_OF_FREE_SURFACE": False,
    "f0_FOR_PML": 1.0,
    "STACEY_ABSORBING_CONDITIONS": True,
    "STACEY_INSTEAD_OF_FREE_SURFACE": False,
    "BOTTOM_FREE_SURFACE": False,
    "UNDO_ATTENUATION_AND_OR_PML": False,
    "NT_DUMP_ATTENUATION": 500,
    "CREATE_SHAKEMAP": False,
    "MOVIE_SURFACE": False,
    "MOVIE_TYPE": 1,
    "MOVIE_VOLUME": False,
    "SAVE_DISPLACEMENT": False,
    "MOVIE_VOLUME_STRESS": False,
    "USE_HIGHRES_FOR_MOVIES": False,
    "NTSTEP_BETWEEN_FRAMES": 200,
    "HDUR_MOVIE": 0.0,
    "SAVE_MESH_FILES": False,
    "LOCAL_PATH": "./DATABASES_MPI",
    "NTSTEP_BETWEEN_OUTPUT_INFO": 500,
    "USE_SOURCES_RECEIVERS_Z": False,
    "USE_FORCE_POINT_SOURCE": False,
    "USE_RICKER_TIME_FUNCTION": False,
    "USE_EXTERNAL_SOURCE_FILE": False,
    "PRINT_SOURCE_TIME_FUNCTION": False,
    "USE_SOURCE_ENCODING": False,
    "NTSTEP_BETWEEN_OUTPUT_SEISMOS": 100_000,
    "NTSTEP_BETWEEN_OUTPUT_SAMPLE": 1,
    "SAVE_SEISMOGRAMS_DISPLACEMENT": False,
    "SAVE_SEISMOGRAMS_VELOCITY": True,
    "SAVE_SEISMOGRAMS_ACCELERATION": False,
    "SAVE_SEISMOGRAMS_PRESSURE": False,
    "SAVE_SEISMOGRAMS_STRAIN": False,
    "SAVE_SEISMOGRAMS_IN_ADJOINT_RUN": False,
    "USE_BINARY_FOR_SEISMOGRAMS": False,
    "SU_FORMAT": False,
    "ASDF_FORMAT": False,
    "HDF5_FORMAT": False,
    "WRITE_SEISMOGRAMS_BY_MAIN": False,
    "SAVE_ALL_SEISMOS_IN_ONE_FILE": False,
    "USE_TRICK_FOR_BETTER_PRESSURE": False,
    "OUTPUT_ENERGY": False,
    "NTSTEP_BETWEEN_OUTPUT_ENERGY": 10,
    "NTSTEP_BETWEEN_READ_ADJSRC": 0,
    "READ_ADJSRC_ASDF": False,
    "ANISOTROPIC_KL": False,
    "SAVE_TRANSVERSE_KL": False,
    "ANISOTROPIC_VELOCITY_KL": False,
    "APPROXIMATE_HESS_KL": False,
    "SAVE_MOHO_MESH": False,
    "COUPLE_WITH_INJECTION_TECHNIQUE": False,
    "INJECTION_TECHNIQUE_TYPE": 3,
    "MESH_A_CHUNK_OF_THE_EARTH": False,
    "TRACTION_PATH": "./DATA/tractions/",
    "FKMODEL_FILE": "FKmodel",
    "RECIPROCITY_AND_KH_INTEGRAL": False,
    "NUMBER_OF_SIMULTANEOUS_RUNS": 1,
    "BROADCAST_SAME_MESH_AND_MODEL": False,
    "GPU_MODE": False,
    **dict.fromkeys(
        (
            "ADIOS_ENABLED",
            "ADIOS_FOR_DATABASES",
            "ADIOS_FOR_MESH",
            "ADIOS_FOR_FORWARD_ARRAYS",
            "ADIOS_FOR_KERNELS",
            "ADIOS_FOR_UNDO_ATTENUATION",
            "HDF5_ENABLED",
            "HDF5_FOR_MOVIES",
        ),
        False,
    ),
    "HDF5_IO_NODES": 0,
}


def seismogram_to_sac(path: Path, folder: Path) -> Path:
    """Write a seismogram of SPECFEM3D, NET.STA.CHA.semv, as SAC into `folder`; returns the file.

    It has two columns: time in s after the origin, and velocity in m/s. What it calls X and Y is
    east and north. Raises ValueError if it is not such a file, or if a value is not finite.
    """
    network, station, channel, kind = path.name.split(".")
    component = COMPONENTS.get(channel[-1])
    columns = np.loadtxt(path, ndmin=2)
    if component is None or kind != "semv" or columns.shape[1] != 2 or len(columns) < 2:
        raise ValueError(f"{path} is no velocity seismogram of SPECFEM3D")
    times, samples = columns.T
    if not np.isfinite(columns).all():
        raise ValueError(f"{path}: not all values are finite; the simulation was not stable")
    delta = (times[-1] - times[0]) / (len(times) - 1)
    name = f"{network}.{station}.{channel[:-1]}{component}"
    return write_synthetic(folder, name, times[0], delta, samples)


def write_inputs(
    folder: Path,
    event: dict[str, Any],
    tensor: MomentTensor,
    places: dict[str, dict[str, float]],
    mesh: Mesh,
    layers: Sequence[Layer],
    grid: Grid,
    seconds: float,
) -> Iterable[Path]:
    """Write all input files of a simulation into `folder`, which SPECFEM3D calls DATA."""
    files = {
        "CMTSOLUTION": cmtsolution(event, tensor, mesh),
        "STATIONS": stations_file(places, mesh),
        "Par_file": par_file(mesh, grid, seconds),
        **{
            f"meshfem3D_files/{name}": text for name, text in mesh_files(mesh, layers, grid).items()
        },
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [folder / name for name in files]
