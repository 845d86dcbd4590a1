"""Asking on the rapid assessment of a real event: which files the ground motion of each station
comes from, across the records of three runs, under three mappings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ra_kit import REFERENCE

import d4pcwl
from d4pcwl.lineage.asking import Answer, ask
from d4pcwl.lineage.index import Index
from d4pcwl.lineage.run_record import sha256_of
from d4pcwl.lineage.run_set import of_records

if not (REFERENCE / "observed").is_dir():
    pytest.skip(f"the data of the event are not there: {REFERENCE}", allow_module_level=True)

RUNS = (("download", "dyn_multi"), ("preprocess", "multi"), ("rapid_assessment", "simple"))


@pytest.fixture(scope="module")
def assessed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the event was assessed, with the records of all runs."""
    import download
    import preprocess
    import rapid_assessment

    folder = tmp_path_factory.mktemp("assessed")
    (folder / "misfit_data").mkdir()
    for name in ("events_info.xml", "processing.json"):
        shutil.copyfile(REFERENCE / name, folder / "misfit_data" / name)
    graphs = {
        "download": download.build(REFERENCE),
        "preprocess": preprocess.graph,
        "rapid_assessment": rapid_assessment.graph,
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for name, mapping in RUNS:
            told = {"mapping": mapping, "processes": 3, "provenance": folder / "records" / name}
            d4pcwl.run(graphs[name], **told)
    return folder


def leaves(answer: Answer) -> set[str]:
    """The SHA-256 of the files that nothing is known of before."""
    made = {target for target, _ in answer.edges}
    ends = (node for number, node in answer.nodes.items() if number not in made)
    return {node.digest.hex() for node in ends if node.kind == "file" and node.digest is not None}


def test_a_peak_comes_from_its_waveforms_response_and_settings_alone(assessed: Path) -> None:
    figures = assessed / "pgm_data" / "pgm.geojson"
    stations = [feature["id"] for feature in json.loads(figures.read_text())["features"]]
    expected = json.loads((REFERENCE / "expected" / "pgm.json").read_text())
    assert len(stations) == len(expected["stations"])
    shared = [REFERENCE / "events_info.xml", REFERENCE / "processing.json"]
    found = of_records(assessed / "records")
    assert found is not None
    with Index(found) as index:
        for station in stations:
            files = [
                *(REFERENCE / "observed").glob(f"{station}.*"),
                *(REFERENCE / "synth").glob(f"{station}.*"),
                REFERENCE / "stations" / f"{station}.xml",
                *shared,
            ]
            assert len(files) == 9
            answer = ask(index, f"{figures}#station={station}")
            assert leaves(answer) == {sha256_of(path) for path in files}, station
            between = {Path(n.shown).name for n in answer.nodes.values() if n.kind == "file"}
            assert {f"{station}.json", f"{station}.data.mseed", f"{station}.synt.mseed"} < between
            assert len(between) == 12
        matched = next(run for run in index.runs.values() if run.name == "graph_3")
        (parameters,) = (pe.parameters for pe in matched.pes.values() if pe.name == "match")
        assert parameters["by"] == ["station", "norm"]


def test_a_waveform_went_into_the_figures_of_its_station(assessed: Path) -> None:
    found = of_records(assessed / "records")
    assert found is not None
    with Index(found) as index:
        wave = next((REFERENCE / "observed").glob("IV.ARRO.*"))
        answer = ask(index, str(wave), down=True)
        names = {Path(node.shown).name for node in answer.nodes.values() if node.kind == "file"}
        assert {"pgm.json", "pgm.geojson", "report.html"} < names
        assert {name for name in names if name.endswith((".mseed", ".json"))} == {
            wave.name,
            "IV.ARRO.data.mseed",
            "IV.ARRO.synt.mseed",
            "IV.ARRO.json",
            "pgm.json",
        }
