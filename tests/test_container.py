"""Compiled documents in real containers: the results are those of the same documents without.

The image is built as users build it, by ``scripts/image``. Where no docker daemon is reachable, a
private one is started; where that is not possible either, these tests say so and are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cwl_kit as kit
import engine_kit
import pytest
from ruamel.yaml import YAML

from d4pcwl import to_cwl

ROOT = Path(__file__).parent.parent
WORDS = ROOT / "examples" / "word_count"
RA = ROOT / "examples" / "ra_pipeline"
TAG = f"localhost/d4pcwl-test-{os.getpid()}"  # tests run in several processes

pytest.importorskip("cwltool")


@dataclass(frozen=True)
class Image:
    """The image under test, and the environment in which docker finds it."""

    where: Mapping[str, str]

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return kit.command("docker", *arguments, env=self.where)

    def containers_since(self, begin: float) -> int:
        """How many containers have been started with it, since a time of ``time.time``."""
        period = ["--since", f"{begin:.6f}", "--until", f"{time.time():.6f}"]
        filters = ["--filter", "event=start", "--filter", f"image={TAG}"]
        return len(self.docker("events", *period, *filters).stdout.splitlines())

    def cwltool(self, document: Path, job: Path, out: Path) -> tuple[dict[str, Any], str]:
        """Run a document in containers: its outputs, and what cwltool said."""
        out.mkdir()
        # The image is here and in no registry.
        options = ["--disable-pull", "--outdir", out]
        done = kit.command("cwltool", *options, document, job, cwd=out, env=self.where)
        return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    engine_kit.program("mmdebstrap")
    with engine_kit.docker() as where:
        env = {**os.environ, **where, "PYTHON": sys.executable}
        build = [ROOT / "scripts" / "image", "--tag", TAG]
        done = subprocess.run(build, env=env, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        yield Image(where)
        if not where:  # the daemon goes on
            kit.command("docker", "image", "rm", TAG)


def contained(said: str, networked: int = 0) -> int:
    """How many tools cwltool has run in containers, and that few of them had a network."""
    started = [part for part in said.split("$ docker") if f"{TAG} \\" in part]
    assert sum("--net=none" not in part for part in started) == networked
    return len(started)


@pytest.mark.parametrize(("cut", "tools"), [("whole", 1), ("split.output", 2)])
def test_word_count(cut: str, tools: int, image: Image, tmp_path: Path) -> None:
    script, job = WORDS / "word_count.py", tmp_path / "job.yml"
    job.write_text(f"read: {{class: File, path: {WORDS / 'text.txt'}}}\n")
    options = ["-q", script, "--cut", cut, "--mapping", "multi", "-n", 2]
    kit.command("d4p2cwl", *options, "-o", tmp_path / "plain.cwl")
    kit.command("d4p2cwl", *options, "--docker", TAG, "-o", tmp_path / "docker.cwl")
    plain, _ = kit.cwltool(tmp_path / "plain.cwl", job, tmp_path / "plain")
    found, said = image.cwltool(tmp_path / "docker.cwl", job, tmp_path / "docker")
    assert contained(said) == tools
    assert checksums(found) == checksums(plain)


@pytest.mark.parametrize("name", ["streamflow", "toil"])
def test_other_engines(name: str, image: Image, tmp_path: Path) -> None:
    engine = engine_kit.engine(name)
    script, job = WORDS / "word_count.py", tmp_path / "job.yml"
    job.write_text(f"read: {{class: File, path: {WORDS / 'text.txt'}}}\n")
    kit.command("d4p2cwl", "-q", script, "--docker", TAG, "-o", tmp_path / "docker.cwl")
    plain, _ = kit.cwltool(tmp_path / "docker.cwl", job, tmp_path / "plain")
    inside = replace(engine.with_options(**image.where), containers=True)
    begin = time.time()
    found = inside.run(tmp_path / "docker.cwl", job, tmp_path / "out", timeout=100)
    assert image.containers_since(begin) == 1
    assert checksums(found) == checksums(plain)


def test_the_rapid_assessment(image: Image, tmp_path: Path) -> None:
    pytest.importorskip("obspy")
    data, documents = tmp_path / "data", tmp_path / "ra"
    kit.command(sys.executable, RA / "make_example_data.py", data)
    files = {"event": "events_info.xml", "processing": "processing.json"}
    order = {name: {"class": "File", "path": str(data / file)} for name, file in files.items()}
    job = tmp_path / "job.json"
    job.write_text(json.dumps({**order, "source": {"class": "Directory", "path": str(data)}}))
    shutil.copytree(RA, documents, ignore=shutil.ignore_patterns("*_data", "__pycache__"))
    plain, _ = kit.cwltool(documents / "ra.cwl", job, tmp_path / "plain")
    for script in ("download", "preprocess", "rapid_assessment"):
        options = ["-q", documents / f"{script}.py", "--docker", TAG]
        kit.command("d4p2cwl", *options, "-o", documents / f"{script}.cwl")
    found, said = image.cwltool(documents / "ra.cwl", job, tmp_path / "docker")
    assert contained(said, networked=1) == 3
    for name in ("pgm.json", "pgm.geojson"):
        figures, expected = (Path(o["pgm_data"]["path"], name) for o in (found, plain))
        assert figures.read_bytes() == expected.read_bytes()
    assert Path(found["pgm_data"]["path"], "map_PGA.png").read_bytes().startswith(b"\x89PNG")


def test_it_runs_as_any_user_and_writes_nowhere(image: Image, tmp_path: Path) -> None:
    options = ["--rm", "--user", "12345", "--read-only", "--network", "none"]
    given = '{"read": [{"input": "/data/text.txt"}]}'
    command = ["dispel4py", "simple", "/data/word_count.py", "-d", given]
    done = image.docker("run", *options, "--volume", f"{WORDS}:/data:ro", TAG, *command)
    plain = kit.command(
        "dispel4py", "simple", WORDS / "word_count.py", "-d", given.replace("/data", str(WORDS))
    )
    assert done.stdout == plain.stdout
    assert done.stderr == ""


def test_it_has_a_command_and_is_not_full_of_what_built_it(image: Image) -> None:
    config = json.loads(image.docker("image", "inspect", TAG).stdout)[0]["Config"]
    assert config["Cmd"]  # StreamFlow refuses an image without one
    search = ["find", "/", "-xdev", "-name", "d4pcwl*.whl", "-or", "-name", "pyproject.toml"]
    assert image.docker("run", "--rm", TAG, *search).stdout == ""


def test_the_script_says_how_it_is_used() -> None:
    done = kit.command(ROOT / "scripts" / "image", "--name", "x", code=2)
    assert done.stderr == "usage: scripts/image [--tag NAME] [--suite NAME]\n"


def checksums(outputs: Mapping[str, Any]) -> dict[str, str]:
    """What names an output's content, whatever it contains."""
    return {name: value["checksum"] for name, value in outputs.items()}


@pytest.mark.parametrize("cut", ["whole", "split.output"])
def test_without_an_image_no_document_speaks_of_docker(cut: str) -> None:
    """Even as a hint it would fail where there is no daemon."""
    script = WORDS / "word_count.py"
    assert "Docker" not in str(to_cwl(script, cut=cut))
    document = YAML(typ="safe").load(str(to_cwl(script, cut=cut, docker=TAG)))
    tools = [p for p in document.get("$graph", [document]) if p["class"] == "CommandLineTool"]
    for tool in tools:
        assert kit.by_class(tool["hints"])["DockerRequirement"]["dockerPull"] == TAG
        assert "DockerRequirement" not in kit.by_class(tool["requirements"])
