"""The simulation of examples/ra_pipeline: input files of SPECFEM3D, and its seismograms.

The programs themselves are not here. Their input files are read as the programs read them: the
names, types and orders below are those of read_parameter_file.F90 and read_mesh_parameter_file.f90
of SPECFEM3D Cartesian 4.1.1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ra_kit import EXAMPLE, obspy

import d4pcwl

np = pytest.importorskip("numpy")
make_example_data = pytest.importorskip("make_example_data")
prepare_simulation = pytest.importorskip("prepare_simulation")
ra_layout = pytest.importorskip("ra_layout")
ra_model = pytest.importorskip("ra_model")
ra_source = pytest.importorskip("ra_source")
ra_specfem = pytest.importorskip("ra_specfem")
ra_utm = pytest.importorskip("ra_utm")

MESH = {
    "SUPPRESS_UTM_PROJECTION": ".true.",
    "DT": "5e-3",
    "MODEL": "default",
    "Coordinatesystem": {
        "EPSG": "EPSG:32633",
        "latitude_min": "41.10",
        "latitude_max": "42.90",
        "longitude_min": "12.04",
        "longitude_max": "14.45",
        "y_min": "4550009.18192",
        "y_max": "4753961.35732",
        "x_min": "251420.888333",
        "x_max": "454281.316507",
        "z_min": "-60000",
        "z_max": "2792.539492",
    },
}
EVENT = {
    "time": 1_361_049_369_290_000_000,
    "latitude": 41.7143,
    "longitude": 13.5697,
    "depth": 17.1,
    "magnitude": 4.8,
    "magnitude_type": "Mw",
}
#: Names of logicals, integers, numbers and texts that the programs look for in Par_file.
PAR_FILE = {
    bool: """SAVE_FORWARD INVERSE_FWI_FULL_PROBLEM SUPPRESS_UTM_PROJECTION LTS_MODE USE_LDDRK
        INCREASE_CFL_FOR_LDDRK APPROXIMATE_OCEAN_LOAD TOPOGRAPHY ATTENUATION ANISOTROPY GRAVITY
        COMPUTE_FREQ_BAND_AUTOMATIC USE_OLSEN_ATTENUATION PML_CONDITIONS
        PML_INSTEAD_OF_FREE_SURFACE STACEY_ABSORBING_CONDITIONS STACEY_INSTEAD_OF_FREE_SURFACE
        BOTTOM_FREE_SURFACE UNDO_ATTENUATION_AND_OR_PML CREATE_SHAKEMAP MOVIE_SURFACE MOVIE_VOLUME
        MOVIE_VOLUME_STRESS SAVE_DISPLACEMENT USE_HIGHRES_FOR_MOVIES SAVE_MESH_FILES
        USE_SOURCES_RECEIVERS_Z USE_FORCE_POINT_SOURCE USE_RICKER_TIME_FUNCTION
        USE_EXTERNAL_SOURCE_FILE PRINT_SOURCE_TIME_FUNCTION SAVE_SEISMOGRAMS_DISPLACEMENT
        SAVE_SEISMOGRAMS_VELOCITY SAVE_SEISMOGRAMS_ACCELERATION SAVE_SEISMOGRAMS_PRESSURE
        SAVE_SEISMOGRAMS_STRAIN SAVE_SEISMOGRAMS_IN_ADJOINT_RUN USE_BINARY_FOR_SEISMOGRAMS SU_FORMAT
        ASDF_FORMAT HDF5_FORMAT WRITE_SEISMOGRAMS_BY_MAIN SAVE_ALL_SEISMOS_IN_ONE_FILE
        USE_TRICK_FOR_BETTER_PRESSURE USE_SOURCE_ENCODING OUTPUT_ENERGY READ_ADJSRC_ASDF
        ANISOTROPIC_KL SAVE_TRANSVERSE_KL ANISOTROPIC_VELOCITY_KL APPROXIMATE_HESS_KL SAVE_MOHO_MESH
        COUPLE_WITH_INJECTION_TECHNIQUE MESH_A_CHUNK_OF_THE_EARTH RECIPROCITY_AND_KH_INTEGRAL
        BROADCAST_SAME_MESH_AND_MODEL GPU_MODE ADIOS_ENABLED ADIOS_FOR_DATABASES ADIOS_FOR_MESH
        ADIOS_FOR_FORWARD_ARRAYS ADIOS_FOR_KERNELS ADIOS_FOR_UNDO_ATTENUATION HDF5_ENABLED
        HDF5_FOR_MOVIES""",
    int: """SIMULATION_TYPE NOISE_TOMOGRAPHY UTM_PROJECTION_ZONE NPROC NSTEP PARTITIONING_TYPE NGNOD
        NT_DUMP_ATTENUATION MOVIE_TYPE NTSTEP_BETWEEN_FRAMES NTSTEP_BETWEEN_OUTPUT_INFO
        NTSTEP_BETWEEN_OUTPUT_SEISMOS NTSTEP_BETWEEN_OUTPUT_SAMPLE NTSTEP_BETWEEN_OUTPUT_ENERGY
        NTSTEP_BETWEEN_READ_ADJSRC INJECTION_TECHNIQUE_TYPE NUMBER_OF_SIMULTANEOUS_RUNS
        HDF5_IO_NODES""",
    float: """DT RATIO_BY_WHICH_TO_INCREASE_IT ATTENUATION_f0_REFERENCE MIN_ATTENUATION_PERIOD
        MAX_ATTENUATION_PERIOD OLSEN_ATTENUATION_RATIO f0_FOR_PML HDUR_MOVIE""",
    str: """MODEL TOMOGRAPHY_PATH SEP_MODEL_DIRECTORY LOCAL_PATH TRACTION_PATH FKMODEL_FILE""",
}
#: What the mesher reads one after the other, whatever the lines call it.
MESH_PAR_FILE = [
    *[("LATITUDE_MIN", float), ("LATITUDE_MAX", float)],
    *[("LONGITUDE_MIN", float), ("LONGITUDE_MAX", float), ("DEPTH_BLOCK_KM", float)],
    *[("UTM_PROJECTION_ZONE", int), ("SUPPRESS_UTM_PROJECTION", bool)],
    *[("INTERFACES_FILE", str), ("CAVITY_FILE", str), ("NEX_XI", int), ("NEX_ETA", int)],
    *[("NPROC_XI", int), ("NPROC_ETA", int), ("USE_REGULAR_MESH", bool), ("NDOUBLINGS", int)],
    *[("CREATE_ABAQUS_FILES", bool), ("CREATE_DX_FILES", bool), ("CREATE_VTK_FILES", bool)],
    *[("SAVE_MESH_AS_CUBIT", bool), ("LOCAL_PATH", str), ("THICKNESS_OF_X_PML", float)],
    *[("THICKNESS_OF_Y_PML", float), ("THICKNESS_OF_Z_PML", float), ("NMATERIALS", int)],
]


def fortran(text: str, kind: type) -> Any:
    """A value as list-directed input of Fortran reads it."""
    if kind is bool:
        return {".true.": True, ".false.": False}[text]
    return kind(text.replace("d", "e") if kind is float else text)


def lines(text: str) -> Iterator[str]:
    """The lines that the programs read: no comments, and what stands behind an equals sign."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.partition("=")[2].strip() or line.strip()


@pytest.fixture
def mesh(tmp_path: Path) -> Any:
    return read_mesh(tmp_path, MESH)


def read_mesh(folder: Path, info: dict[str, Any]) -> Any:
    path = folder / "mesh_info.json"
    path.write_text(json.dumps(info))
    return ra_specfem.read_mesh(path)


@pytest.fixture
def plan(mesh: Any) -> tuple[Any, Any, Any]:
    layers = ra_specfem.read_layers(prepare_simulation.CRUST, mesh.depth)
    return mesh, layers, ra_specfem.plan_grid(mesh, layers, 1.0, 6)


def test_utm_coordinates_are_those_of_the_mesh() -> None:
    box = {name: float(value) for name, value in MESH["Coordinatesystem"].items() if name != "EPSG"}
    x, y = ra_utm.utm(box["latitude_min"], box["longitude_min"], 33)
    assert x == pytest.approx(box["x_min"], abs=0.001)
    x, y = ra_utm.utm(box["latitude_max"], box["longitude_min"], 33)
    assert y == pytest.approx(box["y_max"], abs=0.001)
    assert ra_utm.utm(0.0, 15.0, 33) == pytest.approx((500_000.0, 0.0), abs=1e-6)
    # From the equator to 45 degrees, the meridian of WGS84 is 4,984,944.378 m long.
    assert ra_utm.utm(45.0, 15.0, 33)[1] == pytest.approx(0.9996 * 4_984_944.378, abs=0.001)
    north, south = ra_utm.utm(41.0, 12.0, 33), ra_utm.utm(-41.0, 12.0, -33)
    assert south == pytest.approx((north[0], 10_000_000.0 - north[1]))


def test_a_double_couple_has_its_planes_and_its_moment() -> None:
    from obspy.imaging.beachball import MomentTensor as Tensor
    from obspy.imaging.beachball import aux_plane, mt2plane

    tensor = ra_source.double_couple(4.8, 329.0, 47.0, -99.0)
    assert tensor.moment == pytest.approx(10**16.3)
    assert tensor.rr + tensor.tt + tensor.pp == pytest.approx(0.0, abs=1e-9 * tensor.moment)
    assert tensor.rr < 0  # a normal fault: the ground goes down
    plane = mt2plane(Tensor(*tensor, 0))
    first = plane.strike, plane.dip, plane.rake
    turned = [np.mod(angles, 360.0) for angles in (first, aux_plane(*first))]
    assert any(np.allclose(angles, (329.0, 47.0, 261.0), atol=0.01) for angles in turned), turned


def test_the_source_comes_from_the_event(tmp_path: Path) -> None:
    make_example_data.event().write(str(tmp_path / "events_info.xml"), format="QUAKEML")
    expected = make_example_data.SOURCE.tensor
    assert ra_source.read_moment_tensor(tmp_path) == pytest.approx(expected)
    catalog = make_example_data.event()
    catalog[0].focal_mechanisms = []
    catalog.write(str(tmp_path / "events_info.xml"), format="QUAKEML")
    with pytest.raises(ra_layout.SettingsError, match="needs a moment tensor, or a nodal plane"):
        ra_source.read_moment_tensor(tmp_path)


def test_obspy_reads_the_source_back(mesh: Any, tmp_path: Path) -> None:
    tensor = ra_source.MomentTensor(-1.57e16, 8e14, 1.49e16, 1.86e15, -3.7e14, -7.9e15)
    path = tmp_path / "CMTSOLUTION"
    # ObsPy wants degrees where a projected mesh has metres.
    flat = read_mesh(tmp_path, {**MESH, "SUPPRESS_UTM_PROJECTION": ".false."})
    path.write_text(ra_specfem.cmtsolution(EVENT, tensor, flat))
    event = obspy.read_events(str(path), format="CMTSOLUTION")[0]
    found = event.focal_mechanisms[0].moment_tensor
    assert [getattr(found.tensor, f"m_{name}") for name in tensor._fields] == pytest.approx(tensor)
    assert found.source_time_function.duration == pytest.approx(2 * 0.58, abs=0.02)
    origin = event.preferred_origin()
    assert origin.time.ns == EVENT["time"]
    assert (origin.latitude, origin.longitude, origin.depth) == (41.7143, 13.5697, 17100.0)
    projected = ra_specfem.cmtsolution(EVENT, tensor, mesh)
    values = dict(line.split(":") for line in projected.splitlines()[1:])
    x, y = ra_utm.utm(41.7143, 13.5697, 33)
    assert float(values["longorUTM"]) == pytest.approx(x)
    assert float(values["latorUTM"]) == pytest.approx(y)


def test_par_file_has_all_that_the_programs_look_for(plan: tuple[Any, Any, Any]) -> None:
    mesh, _, grid = plan
    text = ra_specfem.par_file(mesh, grid, 60.0)
    rows = [line.split(" = ") for line in text.splitlines()]
    found = {name.strip(): value for name, value in rows}
    assert len(found) == len(rows)
    kinds = {name: kind for kind, names in PAR_FILE.items() for name in names.split()}
    assert found.keys() == kinds.keys()
    values = {name: fortran(text, kinds[name]) for name, text in found.items()}
    assert values["NPROC"] == 6
    assert values["NSTEP"] * values["DT"] == pytest.approx(60.0)
    assert values["SUPPRESS_UTM_PROJECTION"] is True
    assert values["SAVE_SEISMOGRAMS_VELOCITY"] is True


def test_the_mesh_files_are_read_in_their_order(plan: tuple[Any, Any, Any]) -> None:
    mesh, layers, grid = plan
    files = ra_specfem.mesh_files(mesh, layers, grid)
    given = lines(files["Mesh_Par_file"])
    read = {name: fortran(next(given), kind) for name, kind in MESH_PAR_FILE}
    assert (read["LONGITUDE_MIN"], read["LATITUDE_MAX"]) == (251420.888333, 4753961.35732)
    assert read["DEPTH_BLOCK_KM"] == 60.0
    materials = [next(given).split() for _ in range(read["NMATERIALS"])]
    # id, density, speeds of P and S waves, two Q, anisotropy, elastic; the lowest first.
    assert materials[-1] == ["3", "2720.0", "5800.0", "3460.0", "9999.", "9999.", "0", "2"]
    regions = [[int(n) for n in next(given).split()] for _ in range(int(next(given)))]
    assert not list(given)
    assert all(region[:4] == [1, read["NEX_XI"], 1, read["NEX_ETA"]] for region in regions)
    assert [region[4] for region in regions] == [1, *(region[5] + 1 for region in regions[:-1])]
    assert read["NEX_XI"] % read["NPROC_XI"] == read["NEX_ETA"] % read["NPROC_ETA"] == 0
    assert read["NPROC_XI"] * read["NPROC_ETA"] == 6

    given = lines(files[read["INTERFACES_FILE"]])
    tops = []
    for _ in range(int(next(given))):
        flag, across, up, west, south, width, height = next(given).split()
        assert (flag, across, up) == (".true.", "2", "2")
        assert float(west) + float(width) == pytest.approx(read["LONGITUDE_MAX"])
        assert float(south) + float(height) == pytest.approx(read["LATITUDE_MAX"])
        tops.append({float(value) for value in files[next(given)].split()})
    assert tops == [{-35000.0}, {-20000.0}, {0.0}]
    counts = [int(count) for count in given]
    assert np.cumsum(counts).tolist() == [region[5] for region in regions]
    # At least one element for a wave of 1 Hz at 3,460 m/s, to each side.
    assert (454281.3 - 251420.9) / read["NEX_XI"] <= 3460.0
    assert 20_000 / counts[-1] <= 3460.0


def test_all_that_is_wrong_with_a_mesh_is_said(tmp_path: Path, plan: tuple[Any, Any, Any]) -> None:
    mesh, layers, _ = plan
    with pytest.raises(ra_layout.SettingsError, match=r"the time step .* is too long .* 9 Hz"):
        ra_specfem.plan_grid(mesh, layers, 9.0, 4)
    with pytest.raises(ra_layout.SettingsError, match="ends above the bottom"):
        ra_specfem.read_layers(prepare_simulation.CRUST, 7e6)
    wrong = {**MESH, "DT": "0", "MODEL": "gll"}
    with pytest.raises(ra_layout.SettingsError, match=r"DT is not above 0; MODEL 'gll'"):
        read_mesh(tmp_path, wrong)
    place = {**MESH["Coordinatesystem"], "EPSG": "EPSG:4326"}
    with pytest.raises(ra_layout.SettingsError, match="EPSG:4326 is no UTM zone"):
        read_mesh(tmp_path, {**MESH, "Coordinatesystem": place})
    with pytest.raises(ra_layout.SettingsError, match="no 'DT'"):
        read_mesh(tmp_path, {name: value for name, value in MESH.items() if name != "DT"})


# The point source


def stokes(place: Any, medium: Any, rate: complex) -> Any:
    """Green's tensor of a whole space at s = `rate`: Aki and Richards, eq. 4.23, transformed."""
    reach = np.linalg.norm(place)
    ray = np.outer(place, place) / reach**2
    times = reach / medium.p_speed, reach / medium.s_speed
    ends = [-(t / rate + 1 / rate**2) * np.exp(-rate * t) for t in times]
    near = (3 * ray - np.eye(3)) / reach**3 * (ends[1] - ends[0])
    far_p = ray / (medium.p_speed**2 * reach) * np.exp(-rate * times[0])
    far_s = (np.eye(3) - ray) / (medium.s_speed**2 * reach) * np.exp(-rate * times[1])
    return (near + far_p + far_s) / (4 * np.pi * medium.density)


@pytest.mark.parametrize("frequency", [0.02, 0.3, 2.0])
def test_a_point_source_is_the_gradient_of_the_solution_of_stokes(frequency: float) -> None:
    medium = ra_model.Medium(p_quality=np.inf, s_quality=np.inf)
    tensor = ra_source.MomentTensor(-1.6, 0.8, 1.5, 0.2, -0.4, -0.8)._replace(rr=-1.2).ned()
    place, rate, step = np.array([4000.0, -7000.0, -9000.0]), 2j * np.pi * frequency, 1.0
    expected = np.zeros(3, complex)
    for q in range(3):
        shift = step * np.eye(3)[q]
        # A derivative by the place of the source is the negative one by that of the receiver.
        gradient = (stokes(place - shift, medium, rate) - stokes(place + shift, medium, rate)) / 2
        expected += gradient / step @ tensor[:, q]
    found = ra_model.velocity_spectrum(tensor, medium, place, np.array([frequency]))
    assert np.max(np.abs(found[:, 0] - expected)) < 1e-5 * np.max(np.abs(expected))


def test_a_seismogram_begins_with_the_p_wave_and_ends_with_the_static_offset() -> None:
    source = ra_model.Source(10_000.0, ra_source.double_couple(4.8, 140.0, 50.0, -90.0))
    medium = ra_model.Medium()
    times = -2.0 + 0.01 * np.arange(6000)
    motion = ra_model.seismogram(source, medium, 15_000.0, 30.0, times)
    offset = np.array([15_000.0 * np.cos(np.pi / 6), 15_000.0 * np.sin(np.pi / 6), -10_000.0])
    arrival = np.hypot(15_000.0, 10_000.0) / medium.p_speed
    static = ra_model.velocity_spectrum(source.tensor.ned(), medium, offset, np.array([0.0]))
    north, east, down = 2.0 * static[:, 0].real
    for component, expected in {"N": north, "E": east, "Z": -down}.items():
        velocity = motion[component]
        largest = np.max(np.abs(velocity))
        assert np.max(np.abs(velocity[times < arrival - 0.2])) < 2e-2 * largest
        assert np.sum(velocity) * 0.01 == pytest.approx(expected, rel=0.01)


def test_the_point_source_gives_synthetics_of_each_station(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_example_data.write_example(tmp_path / "misfit_data")
    synth = tmp_path / "misfit_data" / "synth"
    expected = {path.name: obspy.read(str(path))[0].data for path in synth.iterdir()}
    (synth / "XX.OLD.HXE.semv.sac").write_bytes(b"of an earlier run")
    monkeypatch.chdir(tmp_path)
    d4pcwl.run(EXAMPLE / "point_source.py", {"stations": 1})
    found = {path.name: obspy.read(str(path))[0].data for path in synth.iterdir()}
    assert found.keys() == expected.keys()
    # The made-up synthetics are of the same source, which the event file tells.
    for name, samples in expected.items():
        np.testing.assert_allclose(found[name], samples, rtol=1e-4, atol=1e-4 * samples.max())


# The programs


#: Programs that stand in for mpirun and SPECFEM3D: each says that it ran, and the solver writes
#: seismograms of the receivers, 1, 2 and 3 m/s on x, y and z.
STAND_IN = """\
#!{python}
import sys
from pathlib import Path

name = Path(sys.argv[0]).name
assert Path("DATABASES_MPI").is_dir()
with open("OUTPUT_FILES/ran.txt", "a") as ran:
    ran.write(" ".join([name, *sys.argv[1:]]) + "\\n")
if name == "xspecfem3D":
    for line in Path("DATA/STATIONS").read_text().splitlines():
        station, network, *_ = line.split()
        for value, component in enumerate("XYZ", start=1):
            rows = [f"{{-1.2 + 0.005 * n:.6E}} {{value:.6E}}" for n in range(200)]
            path = Path("OUTPUT_FILES") / f"{{network}}.{{station}}.HX{{component}}.semv"
            path.write_text("\\n".join(rows) + "\\n")
"""


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment with stand-ins for SPECFEM3D on its PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("xmeshfem3D", "xgenerate_databases", "xspecfem3D"):
        (folder / name).write_text(STAND_IN.format(python=sys.executable))
        (folder / name).chmod(0o755)
    (folder / "mpirun").write_text('#!/bin/sh\nranks=$2; shift 2; exec "$@" "$ranks"\n')
    (folder / "mpirun").chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path}


def test_the_simulation_fills_the_folder_of_the_assessment(
    programs: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("cwltool")
    data = tmp_path / "misfit_data"
    (data / "stations").mkdir(parents=True)
    (data / "synth").mkdir()
    (data / "synth" / "XX.OLD.HXE.semv.sac").write_bytes(b"of an earlier simulation")
    make_example_data.event().write(str(data / "events_info.xml"), format="QUAKEML")
    for station in make_example_data.STATIONS[:2]:
        inventory = make_example_data.inventory(*station[:5])
        inventory.write(str(data / "stations" / f"XX.{station[0]}.xml"), format="STATIONXML")
    (tmp_path / "mesh.json").write_text(json.dumps(MESH))
    options = ["--quiet", "--no-container", "--outdir", tmp_path / "out"]
    job = ["--misfit_data", data, "--mesh", tmp_path / "mesh.json", "--ranks", "2"]
    done = subprocess.run(
        ["cwltool", *options, EXAMPLE / "simulate.cwl", *job],
        env=programs,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    synth = tmp_path / "out" / "misfit_data" / "synth"
    names = [f"XX.{code}.HX{c}.semv.sac" for code in ("ACRE", "BRIO") for c in "ENZ"]
    assert sorted(path.name for path in synth.iterdir()) == names
    for name, value in zip(names, [1.0, 2.0, 3.0] * 2, strict=True):
        trace = obspy.read(str(synth / name))[0]
        assert trace.stats.sac.b == pytest.approx(-1.2)
        assert trace.stats.delta == pytest.approx(0.005)
        assert trace.stats.npts == 200
        assert (trace.data == value).all()


@pytest.mark.parametrize("document", ["specfem3d", "simulate", "ra"])
def test_the_documents_are_valid(document: str) -> None:
    pytest.importorskip("cwltool")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "cwltool"), "--validate", EXAMPLE / f"{document}.cwl"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "is valid CWL" in done.stdout + done.stderr
