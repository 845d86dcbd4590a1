"""The rapid assessment end to end: as steps and as one stream, by cwltool and by the mappings."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from ra_kit import EXAMPLE, REFERENCE

from d4pcwl import to_cwl
from d4pcwl.cwl.emit.text import document_text

STEPS = ("download", "preprocess", "rapid_assessment")
FIGURES = ("pgm.json", "pgm.geojson")

pytest.importorskip("cwltool")


def command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment, and insist that it succeeds."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def cwltool(*arguments: object) -> tuple[dict[str, Any], str]:
    """The output object of a cwltool run, and what it said on standard error."""
    done = command("cwltool", "--quiet", *arguments)
    return json.loads(done.stdout), done.stderr


def figures(folder: Path) -> list[bytes]:
    """What the figure files in a folder hold."""
    return [(folder / name).read_bytes() for name in FIGURES]


@pytest.fixture(scope="session")
def example_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ra") / "example_data"
    command(sys.executable, EXAMPLE / "make_example_data.py", folder)
    return folder


def job_order(data: Path, folder: Path) -> Path:
    job = folder / "ra.json"
    files = {"event": "events_info.xml", "processing": "processing.json"}
    order: dict[str, Any] = {
        name: {"class": "File", "path": str(data / file)} for name, file in files.items()
    }
    order["source"] = {"class": "Directory", "path": str(data)}
    job.write_text(json.dumps(order))
    return job


@pytest.fixture(scope="session")
def stepwise(example_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The example's figures by `cwltool ra.cwl`, and what was said."""
    folder = tmp_path_factory.mktemp("stepwise")
    outputs, said = cwltool("--outdir", folder, EXAMPLE / "ra.cwl", job_order(example_data, folder))
    assert set(outputs) == {"misfit_data", "pgm_data"}
    return folder / "pgm_data", said


@pytest.mark.parametrize(
    "step", [*STEPS, "prepare_simulation", "collect_synthetics", "point_source"]
)
def test_the_checked_in_tools_are_what_the_scripts_compile_to(step: str) -> None:
    compiled = to_cwl(EXAMPLE / f"{step}.py", folder=EXAMPLE)
    assert (EXAMPLE / f"{step}.cwl").read_text() == document_text(compiled.document)


def test_the_job_order_names_the_inputs_of_the_workflow() -> None:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    workflow = yaml.load((EXAMPLE / "ra.cwl").read_text())
    assert set(yaml.load((EXAMPLE / "ra.yml").read_text())) <= set(workflow["inputs"])


def test_a_station_without_a_component_costs_one_message(stepwise: tuple[Path, str]) -> None:
    pgm_data, said = stepwise
    stations = json.loads((pgm_data / "pgm.json").read_text())["stations"]
    assert "XX.FELT" not in stations
    assert len(stations) == 5
    assert [line for line in said.splitlines() if "XX.FELT" in line] == [
        "read1: XX.FELT is left out: observed XX.FELT..BH* lacks component N"
    ]


class Page(HTMLParser):
    """What a page refers to, its pictures, its cells, and the lines of its drawings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.pictures: list[bytes] = []
        self.lines: list[tuple[str, str]] = []
        self.cells: list[str] = []
        self.tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        named = {name: value or "" for name, value in attrs}
        for name in {"src", "href", "srcset", "data", "action", "poster", "xlink:href"} & set(
            named
        ):
            kind, _, content = named[name].partition(",")
            if kind == "data:image/png;base64":
                self.pictures.append(base64.b64decode(content, validate=True))
            else:
                self.references.append(named[name])
        if tag == "path":
            self.lines.append((named["class"], named["d"]))

    def handle_data(self, data: str) -> None:
        if self.tag == "td" and data.strip():
            self.cells.append(data)


def test_the_report_is_one_file_with_all_that_people_look_at(stepwise: tuple[Path, str]) -> None:
    folder = stepwise[0]
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.references == []
    assert not re.search(r"@import|url\(|https?:|<script", text)
    quantities = ("PGA", "PGV", "PSA_0.3Hz", "PSA_1.0Hz", "PSA_3.0Hz")
    assert page.pictures == [(folder / f"map_{name}.png").read_bytes() for name in quantities]
    assert all(picture.startswith(b"\x89PNG") for picture in page.pictures)

    table = json.loads((folder / "pgm.json").read_text())
    nearest = sorted(table["places"], key=lambda name: table["places"][name]["distance"])
    width = 2 + 3 * len(quantities)
    assert page.cells[::width] == nearest
    first = table["stations"][nearest[0]]
    cells = [float(cell.rstrip(" %")) for cell in page.cells[2:width]]
    for number, name in enumerate(quantities):
        observed, synthetic = (100 * first[part]["max"][name] for part in ("data", "synt"))
        assert cells[3 * number : 3 * number + 2] == pytest.approx([observed, synthetic], rel=5e-3)
        relative = 100 * (observed - synthetic) / observed
        assert cells[3 * number + 2] == pytest.approx(relative, abs=0.51)

    assert re.findall(r"<figcaption><b>(.*?)</b>", text) == nearest
    # Four lines for each station, and the largest of them as high as the drawing.
    lines = [(kind, heights(d)) for kind, d in page.lines if kind != "zero"]
    assert [kind for kind, _ in lines] == ["observed", "synthetic"] * 2 * len(nearest)
    for first in range(0, len(lines), 4):
        highest = [max(abs(y - 120) for y in drawn) for _, drawn in lines[first : first + 4]]
        assert max(highest) == 115
        assert min(highest) > 2


def heights(path: str) -> list[int]:
    """The heights of a line: M, its first point, l, and then how far the next points are."""
    begin, _, steps = path.partition("l")
    return [*accumulate(map(int, steps.split()[1::2]), initial=int(begin.split()[1]))]


def test_the_geojson_has_a_point_for_each_station(stepwise: tuple[Path, str]) -> None:
    collection = json.loads((stepwise[0] / "pgm.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    points = [f for f in collection["features"] if f["geometry"]["type"] == "Point"]
    assert len(points) >= 5
    for point in points:
        longitude, latitude = point["geometry"]["coordinates"][:2]
        assert -180 <= longitude <= 180
        assert -90 <= latitude <= 90


@pytest.mark.parametrize("options", [("simple",), ("multi", "-n", "2"), ("multi", "-n", "6")])
def test_the_stream_gives_the_figures_of_the_steps(
    options: tuple[str, ...], example_data: Path, stepwise: tuple[Path, str], tmp_path: Path
) -> None:
    given = json.dumps({"source": [{"input": str(example_data)}]})
    how, *more = options
    command("dispel4py", how, EXAMPLE / "ra_stream.py", "-d", given, *more, cwd=tmp_path)
    assert figures(tmp_path / "pgm_data") == figures(stepwise[0])


@pytest.mark.parametrize("how", ["simple", "multi"])
@pytest.mark.parametrize("cut", ["whole", "composite"])
def test_the_compiled_stream_gives_the_figures_of_the_steps(
    cut: str, how: str, example_data: Path, stepwise: tuple[Path, str], tmp_path: Path
) -> None:
    document = tmp_path / "ra_stream.cwl"
    document.write_text(str(to_cwl(EXAMPLE / "ra_stream.py", cut=cut, folder=tmp_path)))
    choice = ["--source", example_data, "--mapping", how, "--processes", "2"]
    outputs, _ = cwltool("--outdir", tmp_path / "out", document, *choice)
    assert outputs["pgm_data"]["class"] == "Directory"
    assert figures(tmp_path / "out" / "pgm_data") == figures(stepwise[0])


def test_the_steps_give_the_same_under_multi(
    example_data: Path, stepwise: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "ra", ignore=shutil.ignore_patterns("*_data"))
    for step in STEPS:
        script = tmp_path / "ra" / f"{step}.py"
        compiled = to_cwl(script, mapping="multi", processes=2, folder=tmp_path / "ra")
        script.with_suffix(".cwl").write_text(str(compiled))
    job = job_order(example_data, tmp_path)
    cwltool("--outdir", tmp_path / "out", tmp_path / "ra" / "ra.cwl", job)
    assert figures(tmp_path / "out" / "pgm_data") == figures(stepwise[0])


def test_the_runner_gives_the_figures_of_cwltool(
    example_data: Path, stepwise: tuple[Path, str], tmp_path: Path
) -> None:
    job = job_order(example_data, tmp_path)
    options = ["--quiet", "--no-container", "--outdir", tmp_path / "out"]
    done = command("d4pcwl-runner", *options, EXAMPLE / "ra.cwl", job)
    assert set(json.loads(done.stdout)) == {"misfit_data", "pgm_data"}
    assert figures(tmp_path / "out" / "pgm_data") == figures(stepwise[0])


def test_the_imported_workflow_gives_the_figures_of_the_steps(
    example_data: Path, stepwise: tuple[Path, str], tmp_path: Path
) -> None:
    command("cwl2d4p", EXAMPLE / "ra.cwl", "-o", tmp_path / "ra.py")
    job = job_order(example_data, tmp_path)
    done = command("dispel4py", "multi", tmp_path / "ra.py", "-f", job, cwd=tmp_path)
    (line,) = done.stdout.splitlines()
    outputs = json.loads(line)["data"]
    assert set(outputs) == {"misfit_data", "pgm_data"}
    assert outputs["pgm_data"]["path"] == str(tmp_path / "pgm_data")
    assert figures(tmp_path / "pgm_data") == figures(stepwise[0])


@pytest.mark.skipif(
    not (REFERENCE / "expected" / "pgm.json").is_file(),
    reason="the data of the real event are not here; RA_DATA names their folder",
)
def test_a_real_earthquake_gives_the_published_figures(tmp_path: Path) -> None:
    cwltool("--outdir", tmp_path, EXAMPLE / "ra.cwl", job_order(REFERENCE, tmp_path))
    found = json.loads((tmp_path / "pgm_data" / "pgm.json").read_text())["stations"]
    expected = json.loads((REFERENCE / "expected" / "pgm.json").read_text())["stations"]
    assert set(found) == set(expected)
    for station, kinds in expected.items():
        for kind, norms in kinds.items():
            for norm, values in norms.items():
                assert found[station][kind][norm] == pytest.approx(values, rel=1e-5), station
