"""The templates of cwl_templates/engines, by real engines: the results are those of ``simple``.

The engines are in virtual environments of their own (``scripts/engines`` makes them); the machines
that are reached by ssh, and the slurm queue, are this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cwl_kit as kit
import engine_kit
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
TEMPLATES = ROOT / "cwl_templates" / "engines"
EXAMPLE = ROOT / "examples" / "word_count"
FORMS = ("whole", "cut")
STEPS = ("/read_to_split", "/count")

pytest.importorskip("cwltool")


@dataclass(frozen=True)
class Words:
    """Compiled documents of the word count, by form, and what they have to give."""

    documents: Mapping[str, Path]
    job: Path
    expected: list[str]

    def check(self, outputs: Mapping[str, Any]) -> None:
        found = [v["path"] for name, v in outputs.items() if name.endswith("results")]
        assert kit.lines_of(map(Path, found)) == self.expected


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    folder = tmp_path_factory.mktemp("words")
    script = EXAMPLE / "word_count.py"
    given = f'{{"read": [{{"input": "{EXAMPLE / "text.txt"}"}}]}}'
    kit.command("dispel4py", "simple", script, "-d", given, "--results", folder / "plain.jsonl")
    compile_it = ["d4p2cwl", "-q", script, "--mapping", "multi", "-n", 2]
    kit.command(*compile_it, "-o", folder / "whole.cwl")
    kit.command(*compile_it, "--cut", "split.output", "-o", folder / "cut.cwl")
    job = folder / "job.yml"
    job.write_text(f"read: {{class: File, path: {EXAMPLE / 'text.txt'}}}\n")
    expected = kit.lines_of([folder / "plain.jsonl"])
    assert len(expected) > 5
    return Words({form: folder / f"{form}.cwl" for form in FORMS}, job, expected)


@pytest.fixture(scope="module")
def queue() -> Iterator[dict[str, str]]:
    with engine_kit.slurm() as where:
        yield where


@pytest.fixture
def edit(tmp_path: Path, words: Words) -> Callable[..., Path]:
    """Do what a template of StreamFlow tells its users to do."""

    def edited(name: str, form: str, change: Callable[[Any], None] = lambda _: None) -> Path:
        yaml = YAML()
        settings = yaml.load(TEMPLATES / name)
        config = settings["workflows"]["words"]["config"]
        config["file"], config["settings"] = str(words.documents[form]), str(words.job)
        change(settings)
        yaml.dump(settings, tmp_path / name)
        return tmp_path / name

    return edited


def streamflow(
    file: Path, document: Path, outdir: Path, **env: object
) -> tuple[dict[str, Any], str]:
    """``streamflow run``: the outputs, and what it said."""
    engine = engine_kit.engine("streamflow").with_options(**{k: str(v) for k, v in env.items()})
    with engine_kit.scratch_folder() as scratch:
        command = ["streamflow", "run", "--outdir", str(outdir), str(file)]
        done = engine.execute(command, scratch, timeout=100)
    return engine_kit.checked_outputs(document, done.stdout), done.stderr


def steps_at(said: str, place: str) -> set[str]:
    """The steps that StreamFlow says it has run at a place."""
    return set(re.findall(rf"EXECUTING step (\S+) .*{re.escape(place)}", said))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["cwltool-parallel", "toil-single"])
def test_a_script_on_this_machine(name: str, form: str, words: Words, tmp_path: Path) -> None:
    engine = engine_kit.engine(name.partition("-")[0])
    script, document = TEMPLATES / f"{name}.sh", words.documents[form]
    outputs = engine_kit.run_script(engine, script, document, words.job, tmp_path / "out")
    words.check(outputs)


@pytest.mark.parametrize("form", FORMS)
def test_streamflow_on_this_machine(
    form: str, words: Words, edit: Callable[..., Path], tmp_path: Path
) -> None:
    file = edit("streamflow-local.yml", form)
    outputs, _ = streamflow(file, words.documents[form], tmp_path / "out")
    words.check(outputs)


def test_streamflow_runs_the_template_as_it_stands(words: Words, tmp_path: Path) -> None:
    document = ROOT / "cwl_templates" / "two_stages.cwl"
    outputs, _ = streamflow(TEMPLATES / "streamflow-local.yml", document, tmp_path / "out")
    words.check(outputs)


@pytest.mark.parametrize("form", FORMS)
def test_streamflow_by_ssh(
    form: str, words: Words, edit: Callable[..., Path], tmp_path: Path
) -> None:
    commands = engine_kit.engine("streamflow").venv / "bin"
    path = os.pathsep.join([str(commands), os.defpath])
    with engine_kit.ssh_machines(3, path) as machines:

        def change(settings: Any) -> None:
            nodes = {"near": machines.nodes[:2], "far": machines.nodes[2:]}
            for name, deployment in settings["deployments"].items():
                deployment["workdir"] = str(tmp_path / name)
                deployment["config"]["nodes"] = list(nodes[name])
                deployment["config"]["username"] = machines.user
                deployment["config"]["sshKey"] = str(machines.key)
            if form == "whole":
                del settings["workflows"]["words"]["bindings"][1]

        file = edit("streamflow-ssh.yml", form, change)
        document = words.documents[form]
        outputs, said = streamflow(file, document, tmp_path / "out", HOME=machines.home)
        words.check(outputs)
        if form == "cut":
            assert steps_at(said, "location near/") == {STEPS[0]}
            assert steps_at(said, f"location far/{machines.nodes[2]}") == {STEPS[1]}
            assert machines.called() == set(machines.nodes)
        else:
            assert steps_at(said, "location near/") == {"/"}


@pytest.mark.parametrize("form", FORMS)
def test_streamflow_with_a_slurm_queue(
    form: str, words: Words, queue: dict[str, str], edit: Callable[..., Path], tmp_path: Path
) -> None:
    def change(settings: Any) -> None:
        settings["deployments"]["cluster"]["workdir"] = str(tmp_path / "shared")
        settings["deployments"]["cluster"]["config"]["pollingInterval"] = 1

    before = jobs_so_far(queue)
    file = edit("streamflow-slurm.yml", form, change)
    outputs, _ = streamflow(file, words.documents[form], tmp_path / "out", **queue)
    words.check(outputs)
    assert jobs_so_far(queue) - before == {"whole": 1, "cut": 2}[form]


@pytest.mark.parametrize("form", FORMS)
def test_toil_with_a_slurm_queue(
    form: str, words: Words, queue: dict[str, str], tmp_path: Path
) -> None:
    engine = engine_kit.engine("toil")
    before = jobs_so_far(queue)
    outputs = engine_kit.run_script(
        engine,
        TEMPLATES / "toil-slurm.sh",
        words.documents[form],
        words.job,
        tmp_path / "out",
        SHARED=tmp_path,
        **queue,
    )
    words.check(outputs)
    assert jobs_so_far(queue) - before == {"whole": 1, "cut": 2}[form]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def jobs_so_far(queue: Mapping[str, str]) -> int:
    """How many jobs the queue has taken."""
    log = Path(queue["SLURM_CONF"]).with_name("slurmctld.log").read_text()
    return len(re.findall(r"_job_complete: JobId=\d+ done", log))


# --- mpi ------------------------------------------------------------------------------------------

RANKS = (
    kit.HEAD
    + """
import os


class Numbers(ProducerPE):
    def _process(self, inputs):
        for number in range(4):
            self.write("output", number)


class Size(IterativePE):
    def _process(self, number):
        return [number, int(os.environ.get("PMI_SIZE", "0"))]


graph = WorkflowGraph()
graph.connect(Numbers(), "output", Size(), "input")
"""
)
"""What the processes know of their number comes from MPICH's mpiexec."""


def test_cwltool_puts_the_launcher_before_the_command(words: Words, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    job = tmp_path / "job.yml"
    job.write_text(
        f"script: {{class: File, path: {EXAMPLE / 'word_count.py'}}}\n"
        f"text: {{class: File, path: {EXAMPLE / 'text.txt'}}}\nprocesses: 3\n"
    )
    options = ["--enable-ext", "--mpi-config-file", TEMPLATES / "mpi-config.yml"]
    done = kit.command(
        "cwltool", *options, "--outdir", tmp_path / "out", TEMPLATES / "mpi.cwl", job
    )
    words.check(engine_kit.checked_outputs(TEMPLATES / "mpi.cwl", done.stdout))
    assert re.search(r"mpiexec \\\s+-n \\\s+3 \\\s+dispel4py \\\s+mpi ", done.stderr)
    assert "WARN" not in done.stderr


def test_cwltool_starts_the_ranks_of_a_compiled_tool(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    script, document = kit.write_script(tmp_path, RANKS), tmp_path / "flow.cwl"
    options = ["--mapping", "mpi", "--mpi-requirement", "-n", 2]
    kit.command("d4p2cwl", "-q", script, *options, "-o", document)
    engine = engine_kit.engine("cwltool")
    config = TEMPLATES / "mpi-config.yml"
    launched = engine.with_options("--enable-ext", "--mpi-config-file", config)
    check_ranks(launched.run(document, None, tmp_path / "out", timeout=100))


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    """A document whose results say how many processes there were."""
    pytest.importorskip("mpi4py")
    script = kit.write_script(tmp_path, RANKS)
    kit.command("d4p2cwl", "-q", script, "--mapping", "mpi", "-n", 2, "-o", tmp_path / "ranks.cwl")
    return tmp_path / "ranks.cwl"


def check_ranks(outputs: Mapping[str, Any]) -> None:
    lines = kit.lines_of([Path(outputs["results"]["path"])])
    assert [line.partition('"data": ')[2] for line in lines] == [f"[{n}, 2]}}" for n in range(4)]


@pytest.mark.parametrize("name", ["cwltool", "streamflow", "toil"])
def test_a_compiled_tool_calls_mpiexec_itself(name: str, ranks: Path, tmp_path: Path) -> None:
    check_ranks(engine_kit.engine(name).run(ranks, None, tmp_path / "out", timeout=100))


def test_a_compiled_tool_calls_mpiexec_in_a_job_of_a_queue(
    ranks: Path, queue: dict[str, str], edit: Callable[..., Path], tmp_path: Path
) -> None:
    def change(settings: Any) -> None:
        settings["workflows"]["words"]["config"].update(file=str(ranks), settings=str(job))
        settings["deployments"]["cluster"]["workdir"] = str(tmp_path / "shared")

    job = tmp_path / "none.yml"
    job.write_text("{}\n")
    file = edit("streamflow-slurm.yml", "whole", change)
    check_ranks(streamflow(file, ranks, tmp_path / "out", **queue)[0])


# --- templates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_a_template_says_what_to_change_and_how_to_run_it(template: Path) -> None:
    text = template.read_text()
    assert "CHANGE" in text
    assert template.name in text or template.suffix == ".cwl"
    if text.startswith("#!"):
        assert os.access(template, os.X_OK)


def test_the_page_shows_the_commands_of_the_templates() -> None:
    """Those of StreamFlow and Toil are run above, from the templates, not from the page."""
    page = (ROOT / "docs" / "engines.md").read_text()
    for template in TEMPLATES.iterdir():
        assert template.name in page
        if template.name.startswith(("streamflow", "toil")):
            (command,) = re.findall(r"^#     (\S.*)$", template.read_text(), re.MULTILINE)
            assert f"\n    {command}\n" in page
