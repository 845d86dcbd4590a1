"""Nothing that a tool, a document or a job order calls or links somehow gets out of its folders."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from runner_kit import run, write

from d4pcwl.cwl.importing.cwltool.document import Document
from d4pcwl.cwl.importing.cwltool.outdir import relocated
from d4pcwl.cwl.importing.cwltool.settings import Settings, make_folder
from d4pcwl.cwl.importing.cwltool.tool_run import Outcome, run_tool
from d4pcwl.errors import RunError

pytest.importorskip("cwltool")

TOOL = """
cwlVersion: v1.2
class: CommandLineTool
baseCommand: [sh, -c]
requirements:
  InlineJavascriptRequirement: {{}}
  InitialWorkDirRequirement: {{listing: [{listing}]}}
arguments: [{{valueFrom: {script}, position: -1}}]
inputs: {{{inputs}}}
outputs: {{{outputs}}}
{more}
"""


class Bench:
    """Runs tools within this process, and has a place beside their folders that stays empty."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path
        self.outside = tmp_path / "canary"
        self.given = tmp_path / "given"
        for folder in (self.outside, self.given / "sub"):
            folder.mkdir(parents=True)
        write(self.given, text_txt="given")
        write(self.given / "sub", deep_txt="deep")
        work = make_folder(str(tmp_path / "work"))
        scratch = os.path.join(work, "tmp")
        os.mkdir(scratch)
        self.settings = Settings(
            container=None, folder=work, scratch=scratch, relax_path_checks=True
        )

    def tool(
        self,
        script: str = "true",
        outputs: str = "",
        inputs: dict[str, Any] | None = None,
        *,
        types: str = "",
        listing: str = "",
        more: str = "",
    ) -> Outcome:
        path = self.home / "tool.cwl"
        text = TOOL.format(
            script=json.dumps(script), outputs=outputs, inputs=types, listing=listing, more=more
        )
        path.write_text(text, encoding="utf-8")
        document = Document(str(path), self.settings)
        context = self.settings.running(str(self.home), toplevel=True)
        return run_tool(document.process, inputs or {}, context)

    def file(self, name: str = "text.txt") -> dict[str, Any]:
        return {"class": "File", "location": (self.given / name).as_uri()}

    def folder(self) -> dict[str, Any]:
        return {"class": "Directory", "location": self.given.as_uri()}

    def untouched(self) -> bool:
        """Whether what was given is as it was, and nothing is where nothing may be."""
        given = sorted(str(p.relative_to(self.given)) for p in self.given.rglob("*"))
        return (
            not list(self.outside.iterdir())
            and given == ["sub", "sub/deep.txt", "text.txt"]
            and (self.given / "text.txt").read_text() == "given"
            and not any(path.is_symlink() for path in self.given.rglob("*"))
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def refused(outcome: Outcome, name: str) -> bool:
    return (
        outcome.failed
        and name in outcome.description
        and "Traceback" not in outcome.description
        and not outcome.outputs
    )


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../{canary}/x", "{canary}/x", "a/../../{canary}/x", ".."])
@pytest.mark.parametrize("where", ["file", "secondary", "listing", "folder"])
def test_names_of_inputs_stay_in_their_folder(name: str, where: str, bench: Bench) -> None:
    name = name.format(canary=f"{'../' * 12}{bench.outside}" if ".." in name else bench.outside)
    evil: dict[str, Any] = {"class": "File", "contents": "evil", "basename": name}
    value: dict[str, Any] = {
        "file": evil,
        "secondary": bench.file() | {"secondaryFiles": [evil]},
        "listing": {"class": "Directory", "basename": "d", "listing": [evil]},
        "folder": {"class": "Directory", "basename": name, "listing": []},
    }[where]
    outcome = bench.tool(inputs={"a": value}, types="a: Any")
    assert refused(outcome, os.path.basename(name)), outcome.description
    assert bench.untouched()


def test_a_job_order_does_not_say_where_a_file_is_staged(bench: Bench) -> None:
    evil = {
        "class": "File",
        "contents": "x",
        "basename": "evil",
        "dirname": str(bench.outside),
    }
    outcome = bench.tool("ls $0", inputs={"a": evil}, types="a: {type: File, inputBinding: {}}")
    assert not outcome.failed, outcome.description
    assert bench.untouched()


def test_a_pattern_for_secondary_files_does_not_lead_out(bench: Bench) -> None:
    up = "../" * 12
    (bench.home / "source").write_text("x")
    for pattern in (f"{up}{bench.home}/source", f"{up}{bench.given}/../source"):
        outcome = bench.tool(
            inputs={"a": bench.file()},
            types=f"a: {{type: File, secondaryFiles: [{{pattern: '{pattern}'}}]}}",
        )
        assert refused(outcome, "source"), outcome.description
    assert bench.untouched()


@pytest.mark.parametrize(
    "listing",
    [
        "{{entryname: ../{canary}/x, entry: evil}}",
        "{{entryname: {canary}/x, entry: evil}}",
        '{{entry: \'$({{"class": "Directory", "basename": "d", "listing": [{{'
        '"class": "File", "contents": "evil", "basename": "../../{canary}/x"}}]}})\'}}',
        '\'$([{{"class": "File", "contents": "evil", "basename": "../{canary}/x"}}])\'',
    ],
)
def test_what_is_staged_stays_in_the_working_folder(listing: str, bench: Bench) -> None:
    canary = f"{'../' * 12}{bench.outside}" if "../{" in listing else str(bench.outside)
    outcome = bench.tool(listing=listing.format(canary=canary))
    assert refused(outcome, "canary/x"), outcome.description
    assert bench.untouched()


@pytest.mark.parametrize(
    ("listing", "more"),
    [
        ("{entry: $(inputs.d), entryname: d}, {entryname: d/new, entry: evil}", ""),
        ("{entry: $(inputs.d), entryname: d}, {entryname: d/sub/new, entry: $(inputs.f)}", ""),
        ("{entry: $(inputs.d), entryname: d}", "stdout: d/new"),
        ("{entry: $(inputs.d), entryname: d}", "stderr: d/text.txt"),
        ("{entry: $(inputs.f)}", "stdout: $(inputs.f.basename)"),
    ],
)
def test_inputs_are_not_written_into(listing: str, more: str, bench: Bench) -> None:
    outcome = bench.tool(
        "echo x; echo y >&2",
        inputs={"d": bench.folder(), "f": bench.file()},
        types="d: Directory, f: File",
        listing=listing,
        more=more,
    )
    assert refused(outcome, "input"), outcome.description
    assert bench.untouched()


def test_writable_copies_may_be_written_into(bench: Bench) -> None:
    outcome = bench.tool(
        "echo x",
        "o: {type: File, outputBinding: {glob: d/new}}",
        inputs={"d": bench.folder()},
        types="d: Directory",
        listing="{entry: $(inputs.d), entryname: d, writable: true}, {entryname: d/new, entry: n}",
        more="stdout: d/text.txt",
    )
    assert not outcome.failed, outcome.description
    assert bench.untouched()


@pytest.mark.parametrize(
    "value",
    [
        {"class": "File", "path": "f", "basename": "../canary/x"},
        {"class": "File", "path": "f", "basename": "/canary/x"},
        {"class": "File", "path": "f", "secondaryFiles": [
            {"class": "File", "path": "f", "basename": "../canary/x"}]},
        {"class": "Directory", "path": "d", "basename": "../canary/x"},
        {"class": "File", "path": "../../canary/x"},
        {"class": "File", "path": "d/../../../canary/x"},
        {"class": "File", "location": "../../canary/x"},
        {"class": "File", "location": "file:///etc/hostname/../canary/x"},
    ],
)  # fmt: skip
def test_what_a_tool_says_it_made_is_in_its_folder(value: Any, bench: Bench) -> None:
    said = json.dumps({"o": value}).replace('"', '\\"')
    outcome = bench.tool(f'mkdir d; echo > f; echo "{said}" > cwl.output.json', outputs="o: Any")
    assert refused(outcome, "canary/x"), outcome.description
    assert bench.untouched()


def test_an_output_file_may_say_where_it_is(bench: Bench) -> None:
    said = {
        "a": {"class": "File", "path": "f"},
        "b": {"class": "File", "location": "d/f", "basename": "other"},
        "c": {"class": "Directory", "path": "d/../d"},
    }
    text = json.dumps(said).replace('"', '\\"')
    outcome = bench.tool(
        f'mkdir d; echo 1 > f; echo 2 > d/f; echo "{text}" > cwl.output.json',
        outputs="a: File, b: File, c: Directory",
    )
    assert not outcome.failed, outcome.description
    assert [outcome.outputs[name]["basename"] for name in "abc"] == ["f", "other", "d"]


@pytest.mark.parametrize("what", ["expression", "outputs"])
def test_other_names_of_outputs_stay_in_the_folder(what: str, bench: Bench) -> None:
    value = {"class": "File", "contents": "x", "basename": "../canary/x"}
    if what == "outputs":  # what a workflow was given and gives out as it is
        with pytest.raises(RunError, match=r"\.\./canary/x"):
            relocated({"o": [value]}, str(bench.home / "out"), "move", bench.settings)
        assert bench.untouched()
        return
    document = bench.home / "expression.cwl"
    document.write_text(
        "cwlVersion: v1.2\nclass: ExpressionTool\nrequirements: {InlineJavascriptRequirement: {}}\n"
        f"inputs: []\noutputs: {{o: File}}\nexpression: '$({json.dumps({'o': value})})'\n"
    )
    process = Document(str(document), bench.settings).process
    outcome = run_tool(process, {}, bench.settings.running("/", toplevel=True))
    assert refused(outcome, "../canary/x"), outcome.description


# --- globs and links ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "glob", "name"),
    [
        ("true", "../../../../../../../../etc/passwd", "etc/passwd"),
        ("mkdir d", "d/../../*", "'../*'"),
        ("ln -s /etc/passwd p", "p", "'p' is a link to /etc/passwd"),
        ("ln -s /etc d", "d/passwd", "/etc"),
        ("ln -s /etc d", "d", "'d' is a link to /etc"),
        ("mkdir d; ln -s ../../../../../../../../../etc/passwd d/p", "d", "'d/p' is a link"),
        ("ln -s /dev/zero z", "z", "'z' is a link to /dev/zero"),
        ("ln -s a b; ln -s b a", "a", "'a' is a link that points to itself"),
        ("ln -s b a; ln -s c b; ln -s /etc/passwd c", "a", "'a' is a link to b"),
        (
            "mkdir -p d/e; ln -s .. d/e/f",
            "d",
            "'d/e/f' is a link to a folder that contains the link",
        ),
        (
            "mkdir a b; ln -s ../b a/x; ln -s ../a b/y",
            "a",
            "is a link to a folder that contains the link",
        ),
        ("mkdir a; ln -s .. a/x", ".", "'a/x' is a link to a folder"),
        ("mkfifo p", "p", "'p' is a named pipe"),
        ("mkdir d; mkfifo d/p", "d", "'d/p' is a named pipe"),
        ("ln -s /etc/passwd cwl.output.json", "x", "'cwl.output.json' is a link"),
        ("mkfifo cwl.output.json", "x", "'cwl.output.json' is a named pipe"),
        ("echo > x; ln -s /etc/passwd x.idx", "x", "'x.idx' is a link"),
    ],
)
@pytest.mark.parametrize("more", ["", "loadListing: deep_listing, "])
def test_links_and_globs_stay_in_the_folder(
    script: str, glob: str, name: str, more: str, bench: Bench
) -> None:
    outcome = bench.tool(
        script,
        f"o: {{type: Any, secondaryFiles: ['.idx?'], outputBinding: {{{more}glob: '{glob}'}}}}",
    )
    assert refused(outcome, name), outcome.description


def test_links_to_inputs_and_inside_are_fine(bench: Bench) -> None:
    outcome = bench.tool(
        "ln -s $(inputs.f.path) one; ln -s staged two; ln -s two three; mkdir d e;"
        "ln -s $(inputs.d.path) d/given; ln -s $(inputs.d.path)/sub/deep.txt d/deep;"
        "ln -s ../e d/inner; echo own > e/own; ln -s $(runtime.outdir)/e/own d/absolute;"
        "ln -sr $(inputs.f.path) d/relative; ln -s $(inputs.literal.path) d/literal",
        "files: {type: 'File[]', outputBinding: {glob: [one, two, three]}},"
        "d: {type: Directory, outputBinding: {glob: d, loadListing: deep_listing}}",
        inputs={
            "f": bench.file(),
            "d": bench.folder(),
            "literal": {"class": "File", "contents": "made", "basename": "made.txt"},
        },
        types="f: File, d: Directory, literal: File",
        listing="{entry: $(inputs.f), entryname: staged}",
    )
    assert not outcome.failed, outcome.description
    final = relocated(outcome.outputs, str(bench.home / "out"), "move", bench.settings)
    for file in final["files"]:
        assert Path(file["path"]).read_text() == "given"
    made = bench.home / "out" / "d"
    # Nothing of the run is needed any more.
    found = {str(p.relative_to(made)): p.read_text() for p in made.rglob("*") if p.is_file()}
    assert found == {
        "given/text.txt": "given",
        "given/sub/deep.txt": "deep",
        "deep": "deep",
        "inner/own": "own\n",
        "absolute": "own\n",
        "relative": "given",
        "literal": "made",
    }
    assert not [path for path in made.rglob("*") if path.is_symlink()]
    assert bench.untouched()


def test_links_within_an_output_folder_stay_links(bench: Bench) -> None:
    outcome = bench.tool(
        "mkdir -p d/e; echo x > d/e/v1; ln -s e/v1 d/latest; ln -s $(runtime.outdir)/d/e d/current",
        "d: {type: Directory, outputBinding: {glob: d}}",
    )
    assert not outcome.failed, outcome.description
    relocated(outcome.outputs, str(bench.home / "out"), "move", bench.settings)
    made = bench.home / "out" / "d"
    assert os.readlink(made / "latest") == "e/v1"
    assert os.readlink(made / "current") == "e"
    assert (made / "current" / "v1").read_text() == "x\n"


def test_the_whole_working_folder_may_be_an_output(bench: Bench) -> None:
    for glob in (".", "$(runtime.outdir)"):
        outcome = bench.tool(
            "echo x > f; mkdir d", f"o: {{type: Directory, outputBinding: {{glob: {glob}}}}}"
        )
        assert not outcome.failed, outcome.description


def test_a_container_has_its_own_paths(tmp_path: Path) -> None:
    """A link is read as the tool in the container meant it, never as a path of this machine."""
    from types import SimpleNamespace

    from cwltool.pathmapper import MapperEnt

    from d4pcwl.cwl.importing.cwltool.confine import Outside, WorkingFolder

    given = tmp_path / "given"
    given.mkdir()
    (given / "text").write_text("x")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "own").write_text("own")
    for name, target in {
        "staged": "/var/lib/cwl/stg1/given/text",
        "inner": "/spool/own",
        "machine": "/etc/hostname",
        "above": "../../../etc/hostname",
        "beside": "../var/lib/cwl/stg1/given/text",
    }.items():
        (folder / name).symlink_to(target)
    entry = MapperEnt(str(given), "/var/lib/cwl/stg1/given", "Directory", True)
    job: Any = SimpleNamespace(
        builder=SimpleNamespace(outdir="/spool"),
        stagedir="/nowhere",
        pathmapper={"x": entry},
        generatemapper=None,
    )
    place = WorkingFolder(str(folder), job)
    assert place.glob("staged")
    assert place.glob("beside")
    assert place.glob("inner")
    assert os.readlink(folder / "staged") == os.readlink(folder / "beside") == str(given / "text")
    assert os.readlink(folder / "inner") == "own"
    for name in ("machine", "above"):
        with pytest.raises(Outside, match=name):
            place.glob(name)


@pytest.mark.parametrize("options", [(), ("--relax-path-checks",)])
def test_the_runner_names_the_step_and_the_name(options: tuple[str, ...], tmp_path: Path) -> None:
    write(
        tmp_path,
        tool_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: [sh, -c, "
        "'ln -s /etc/hostname p']\ninputs: []\n"
        "outputs: {o: {type: File, outputBinding: {glob: p}}}\n",
        flow_cwl="cwlVersion: v1.2\nclass: Workflow\ninputs: []\n"
        "outputs: {o: {type: File, outputSource: go/o}}\n"
        "steps: {go: {run: tool.cwl, in: [], out: [o]}}\n",
    )
    made, told = run(
        tmp_path / "flow.cwl", "--no-container", *options, outdir=tmp_path / "out", code=1
    )
    assert "step go: permanentFail" in told
    assert "'p' is a link to /etc/hostname" in told
    assert "Job error" not in told
    assert made == {"o": None}
    assert not (tmp_path / "out").exists()  # nothing came of it
