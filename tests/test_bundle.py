"""Bundles: what is in them, what is not, and that they run where nothing else is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import cwl_kit as kit
import pytest
from packaging.requirements import Requirement

from d4pcwl.cwl.bundle import image_name
from d4pcwl.cwl.lock import _closure, lock_text

pytest.importorskip("cwltool")

SCRIPT = '''"""Scale and shift."""
import json
import os
from pathlib import Path

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from helpers import shifted

HERE = Path(__file__).parent
FACTOR = json.loads((HERE / "settings" / "factor.json").read_text())


class Numbers(ProducerPE):
    def __init__(self, table):
        super().__init__()
        self.table = table

    def _process(self, inputs):
        with open(self.table) as lines:
            for line in lines:
                self.write("output", int(line))


class Scale(IterativePE):
    def __init__(self, offset):
        super().__init__()
        self.offset = offset

    def _process(self, number):
        return shifted(FACTOR * number, self.offset)


def build(table: Path, offset: int = 0) -> WorkflowGraph:
    graph = WorkflowGraph()
    graph.connect(Numbers(table), "output", Scale(offset), "input")
    return graph
'''
HELPERS = """
import networkx

def shifted(number, offset):
    return number + offset + len(networkx.Graph())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A script with a module, settings beside it, and a table elsewhere."""
    folder = tmp_path / "project"
    (folder / "settings").mkdir(parents=True)
    (folder / "flow.py").write_text(SCRIPT)
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "settings" / "factor.json").write_text("3")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "table.txt").write_text("1\n2\n")
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with d4pcwl, its runner, and nothing else of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    runner = (Requirement(text) for text in distribution("d4pcwl").requires or ())
    names = [r.name for r in runner if r.marker is None or r.marker.evaluate({"extra": "runner"})]
    for found in _closure([*names, "packaging"]):
        for top in {file.parts[0] for file in found.files or () if ".." not in file.parts}:
            if not (site / top).exists() and top != "__pycache__":
                (site / top).symlink_to(found.locate_file(top))
    (site / "d4pcwl").symlink_to(Path(__file__).parent.parent / "d4pcwl")
    for command, module in (("dispel4py", "dispel4py"), ("d4pcwl-runner", "runner")):
        script = folder / "bin" / command
        script.write_text(
            f"#!{folder}/bin/python\nimport sys\nfrom d4pcwl.cli.{module} import main\n"
            "sys.exit(main())\n"
        )
        script.chmod(0o755)
    return folder / "bin"


def bundle(folder: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return kit.command("d4p2cwl", "flow.py", *options, cwd=folder, code=code)


def run_there(fresh: Path, folder: Path) -> list[object]:
    """What the command of a bundle's README gives, in an environment without anything else."""
    readme = (folder / "README.md").read_text()
    (line,) = re.findall(r"^    (d4pcwl-runner .*)", readme, re.MULTILINE)[:1]
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env={"PATH": f"{fresh}:/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "pip" not in os.listdir(fresh)
    outputs = json.loads(done.stdout)
    files = [v["path"] for k, v in outputs.items() if k.endswith("results")]
    return [json.loads(line)["data"] for line in Path(files[0]).read_text().splitlines()]


def places(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}


WHOLE = {"README.md", "flow.cwl", "job.yml", "requirements.lock"}
FILES = {"script/flow.py", "script/helpers.py", "script/settings/factor.json", "data/table.txt"}


@pytest.mark.parametrize("cut", [(), ("--cut", "pe")], ids=["whole", "cut"])
def test_a_bundle_runs_where_nothing_else_is(
    project: Path, tmp_path: Path, fresh: Path, cut: tuple[str, ...]
) -> None:
    made = bundle(
        project, "--table", "../elsewhere/table.txt", "--offset", "1", *cut, "--bundle", "../made"
    )
    assert places(tmp_path / "made") == WHOLE | FILES
    for place in FILES:
        assert f"taken into the bundle: {place} (" in made.stderr
    assert "taken into the bundle: the value given for offset" in made.stderr
    (tmp_path / "other" / "place").mkdir(parents=True)
    there = tmp_path / "other" / "place" / "of it"
    (tmp_path / "made").rename(there)
    shutil.rmtree(project)
    shutil.rmtree(tmp_path / "elsewhere")
    assert run_there(fresh, there) == [4, 7]
    assert str(tmp_path) not in "".join((there / name).read_text() for name in WHOLE), (
        "it names folders of the machine where it was made"
    )


def test_a_zip_of_equal_input_is_equal(project: Path, tmp_path: Path, fresh: Path) -> None:
    (tmp_path / "job.yml").write_text(
        "table: {class: File, path: elsewhere/table.txt}\noffset: 5\n"
    )
    given = ("--inputs", "../job.yml", "--bundle")
    bundle(project, *given, "../a/made.zip")
    for file in project.rglob("*.py"):
        os.utime(file, (1, 1))
    bundle(project, *given, "../b/made.zip")
    first, second = ((tmp_path / name / "made.zip").read_bytes() for name in "ab")
    assert first == second
    with zipfile.ZipFile(tmp_path / "a" / "made.zip") as archive:
        assert set(archive.namelist()) == {f"made/{place}" for place in WHOLE | FILES}
        archive.extractall(tmp_path / "out")
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    project.rename(tmp_path / "away")
    assert run_there(fresh, tmp_path / "out" / "made") == [8, 11]


def test_the_lock_has_what_the_modules_import(project: Path, tmp_path: Path) -> None:
    bundle(project, "--bundle", "../made", "--dockerfile", "--docker", "an/image:1")
    lock = (tmp_path / "made" / "requirements.lock").read_text().splitlines()[1:]
    pinned = {Requirement(line).name: Requirement(line) for line in lock}
    assert pinned["networkx"].specifier == f"=={distribution('networkx').version}"
    assert {"d4pcwl", "msgpack", "ruamel.yaml"} <= pinned.keys()
    assert not {"cwltool", "pytest"} & pinned.keys()
    document = (tmp_path / "made" / "flow.cwl").read_text()
    wanted = (
        f"- package: networkx\n        version:\n          - {distribution('networkx').version}"
    )
    assert re.search(wanted.replace("\n", r"\n\s+").replace("        ", ""), document), document
    dockerfile = (tmp_path / "made" / "Dockerfile").read_text()
    version = ".".join(map(str, sys.version_info[:2]))
    assert f"BASE=python:{version}-slim\n" in dockerfile
    assert image_name("The Bundle (2)") == "the-bundle-2"
    readme = (tmp_path / "made" / "README.md").read_text()
    assert "docker build -t an/image:1 ." in readme
    assert "a value for `table`" in readme


def test_what_packages_depend_on_is_locked() -> None:
    lines = lock_text(["obspy", "cwltool"]).splitlines()[1:]
    names = {Requirement(line).name.lower() for line in lines}
    assert {"obspy", "numpy", "cwltool", "rdflib", "d4pcwl"} <= names
    assert lines == sorted(lines, key=str.lower)
    assert "pytest" not in names  # of an extra


def test_secrets_and_large_files_stay_unless_asked_for(project: Path, tmp_path: Path) -> None:
    script = (project / "flow.py").read_text()
    script = script.replace("FACTOR =", 'KEYS = os.listdir(HERE / "data")\nFACTOR =')
    (project / "flow.py").write_text(f'password = "abc12345"\n{script}')
    data = project / "data"
    (data / ".git").mkdir(parents=True)
    (data / ".git" / "config").touch()
    (data / "empty").mkdir()
    (data / ".zarray").write_text("{}")
    (data / "id_rsa").write_text("x")
    (data / "login.ini").write_text("user = me\npassword = abc12345\n")
    (data / "words.txt").write_text("the secret of the password is this\n")
    (data / "lost").symlink_to("lost")
    (data / "round").symlink_to(".")
    os.mkfifo(data / "pipe")
    with open(tmp_path / "large.txt", "wb") as large:
        large.truncate(101 << 20)
    table = ("--table", "../large.txt")
    told = bundle(project, *table, "--bundle", "../made").stderr
    made = tmp_path / "made"
    assert places(made / "script" / "data") == {".zarray", "words.txt"}
    assert (made / "script" / "data" / "empty").is_dir()
    left = {
        "script/data/.git": "it belongs to a development tool, and is not data",
        "script/data/id_rsa": "its name looks like that of a file with a secret",
        "script/data/login.ini": "line 2 looks like a password or key",
        "script/data/lost": "it is a link to something that does not exist",
        "script/data/round": "it is a link to a folder that contains it",
        "script/data/pipe": "it is neither a file nor a folder",
        "data/large.txt": "it is large (106 MB)",
    }
    readme = (made / "README.md").read_text()
    for place, why in left.items():
        assert f"left out of the bundle: {place}: {why}" in told
        assert f"- {place}: {why}" in readme
        assert not os.path.lexists(made / place)
    assert (
        "script/flow.py is taken into the bundle, but line 1 looks like a password or key" in told
    )
    bundle(project, *table, "--take", "data", "--take", "../large.txt", "--bundle", "../all")
    asked = {
        "data/large.txt",
        *(f"script/data/{n}" for n in ("id_rsa", "login.ini", ".git/config")),
    }
    assert asked <= places(tmp_path / "all")
    assert not any((tmp_path / "all" / "script" / "data" / n).exists() for n in ("pipe", "round"))
    assert (tmp_path / "all" / "data" / "large.txt").stat().st_size == 101 << 20


def test_a_bundle_that_cannot_be_made_leaves_nothing(project: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    (tmp_path / "bad.yml").write_text("tabel: 1\ntable: {class: File, path: nowhere.txt}\n")
    before = places(tmp_path)
    refused = {
        "the folder is not empty; name a new one": ("--bundle", "../full"),
        "it is a file": ("--bundle", "flow.py"),
        "leave out -o, --job and --abstract": ("--bundle", "../made", "-o", "x.cwl"),
        "need --bundle": ("--dockerfile",),
        "--take nowhere: it does not exist": ("--bundle", "../made", "--take", "nowhere"),
        "did you mean table?": ("--bundle", "../made", "--inputs", "../bad.yml"),
        "there is no file or folder": ("--bundle", "../made", "--inputs", "../bad.yml"),
        "cannot be made": ("--bundle", "/proc/no/made"),
    }
    for message, options in refused.items():
        assert message in bundle(project, *options, code=2).stderr
    if os.geteuid():
        (tmp_path / "elsewhere" / "table.txt").chmod(0)
        options = ("--table", "../elsewhere/table.txt", "--bundle", "../made.zip")
        assert "cannot be read" in bundle(project, *options, code=2).stderr
    after = {place for place in places(tmp_path) if "__pycache__" not in place}
    assert after == before
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("cut", [(), ("--cut", "pe")], ids=["whole", "cut"])
def test_a_document_without_its_script_says_how_to_make_a_bundle(
    project: Path, tmp_path: Path, cut: tuple[str, ...]
) -> None:
    bundle(project, "--table", "../elsewhere/table.txt", *cut, "-o", "flow.cwl")
    (tmp_path / "moved").mkdir()
    (project / "flow.cwl").rename(tmp_path / "moved" / "flow.cwl")
    run = partial(kit.command, "d4pcwl-runner", "flow.cwl", cwd=tmp_path / "moved", code=1)
    (line,) = run().stderr.splitlines()
    assert run("--iterations", "2").stderr == f"{line}\n"  # options leave defaults as they are
    assert "flow.cwl refers to files that do not exist: " in line
    for name in ("moved/flow.py", "moved/helpers.py", "moved/settings/factor.json"):
        assert str(tmp_path / name) in line
    assert "table.txt" not in line
    assert "d4p2cwl SCRIPT --bundle FOLDER" in line


def test_files_of_a_job_order_that_do_not_exist_are_told_before_the_run(
    project: Path, tmp_path: Path
) -> None:
    bundle(project, "--table", "../elsewhere/table.txt", "-o", "flow.cwl")
    (project / "job.yml").write_text("table: {class: File, path: none.txt}\n")
    for given in (["job.yml"], ["--table", "none.txt"]):
        said = kit.command("d4pcwl-runner", "flow.cwl", *given, cwd=project, code=1).stderr
        assert said == "d4pcwl-runner: error: input 'table': there is no none.txt\n"


def test_file_names_that_cwltool_refuses(project: Path) -> None:
    (project / "flow.py").rename(project / "été 1.py")
    table = (project / "../elsewhere/table.txt").rename(project / "my table.txt")
    document = "flow é.cwl"
    options = ("--table", table.name, "-o", document)
    note = kit.command("d4p2cwl", "été 1.py", *options, cwd=project).stderr
    for name in ("été 1.py", "my table.txt"):
        assert f"note: cwltool refuses the file name '{name}', unless --relax-path-check" in note
    said = kit.command("d4pcwl-runner", document, cwd=project, code=1).stderr
    assert "give the file another name, or use --relax-path-checks" in said
    kit.command("d4pcwl-runner", "--relax-path-checks", document, cwd=project)
