"""Scripts as scientists write them: what reading finds of their files, and that they run as CWL."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest

from d4pcwl import load, to_cwl
from d4pcwl.workflow.pe import takes_bare_items
from d4pcwl.workflow.reading.items import opened_inputs
from d4pcwl.workflow.reading.model import SourceFile
from d4pcwl.workflow.reading.paths import Paths, UnknownPart


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with kit.own_modules():
        yield


# -- paths with holes -------------------------------------------------------------------------

HOLES = {
    "'result_%s.txt' % x": "result_*.txt",
    "'%s_%05d%%.txt' % (x, 3)": "*_*%.txt",
    "'{}/{name}.txt'.format('out', name=x)": "out/*.txt",
    "'{0}-{0:03d}.txt'.format(7)": "7-*.txt",
    "f'out/{x}_{3}.txt'": "out/*_3.txt",
    "f'{x!r:>10}.txt'": "*.txt",
    "os.path.join('out', x + '.txt')": "out/*.txt",
    "os.path.join('out/', 'deep', '%s' % x)": "out/deep/*",
    "Path('out') / (x + '.txt')": "out/*.txt",
    "Path('out').joinpath(x).with_suffix('.png')": "out/*.png",
    "ROOT + 'a_' + str(x)": "./OUT/a_*",
    "os.path.join(os.environ['HERE'], '*.xml')": "$HERE/*.xml",
    "os.environ.get('HERE', 'data') + '/a'": "$HERE/a",
    "os.path.dirname('data/%s/b' % x)": "data/*",
    "os.path.splitext('out/a.csv')[0] + '.png'": "out/a.png",
    "x + y": "**",
    "Settings.FOLDER + '/a'": "set/a",
    "local": "OUT_*",
    "g(x)": "*",
}


@pytest.mark.parametrize(("text", "expected"), HOLES.items(), ids=HOLES)
def test_a_path_is_worked_out_as_far_as_it_goes(tmp_path: Path, text: str, expected: str) -> None:
    tree = ast.parse(
        "ROOT = './OUT/'\nclass Settings:\n    FOLDER = 'set'\n"
        f"def f(x, y):\n    local = 'OUT_' + x\n    return {text}\n"
        "def g(local):\n    ROOT = 3\n"
    )
    paths = Paths(SourceFile("flow.py", tmp_path, "", tree, ()))
    (function,) = [n for n in tree.body if getattr(n, "name", "") == "f"]
    assert isinstance(function, ast.FunctionDef)
    (returned,) = [n for n in function.body if isinstance(n, ast.Return)]
    assert returned.value is not None
    with paths.inside(function):
        parts = paths.parts(returned.value)
    shown = "".join(
        f"${p.variable}" * bool(p.variable) or "*" if isinstance(p, UnknownPart) else p
        for p in parts
    )
    assert shown == expected


# -- items that are opened --------------------------------------------------------------------

OPENED = {
    "open(inputs['input']).read()": "File",
    "with open(inputs['input']) as f: f.read()": "File",
    "path = inputs['input']\n        with open(path.strip(), 'rb') as f: f.read()": "File",
    "json.load(open(str(inputs.get('input'))))": "File",
    "for line in open(inputs['input']): pass": "File",
    "Path(inputs['input']).read_text()": "File",
    "p = Path(inputs['input'])\n        with p.open() as f: pass": "File",
    "np.load(inputs['input'])": "File",
    "np.loadtxt(inputs['input'], delimiter=',')": "File",
    "pd.read_csv(inputs['input'])": "File",
    "obspy.read(inputs['input'])": "File",
    "read(inputs['input'])": "File",
    "Dataset(inputs['input'])": "File",
    "netCDF4.Dataset(inputs['input'], 'r')": "File",
    "import netCDF4 as nc\n        nc.Dataset(inputs['input'])": "File",
    "helper(inputs['input'])": "File",
    "self.load_it(inputs['input'])": "File",
    "self.path = inputs['input']\n        self.use()": "File",
    "for name, path in inputs.items(): open(path)": "File",
    "tree = ET.parse(inputs['input'])": "File",
    "os.listdir(inputs['input'])": "Directory",
    "glob.glob(inputs['input'] + '/*.txt')": "Directory",
    "glob.glob(os.path.join(inputs['input'], '*.txt'))": "Directory",
    "Path(inputs['input']).glob('*')": "Directory",
    "for f in os.listdir(inputs['input']): open(os.path.join(inputs['input'], f))": "Directory",
    "open('data/' + inputs['input'])": "",
    "isinstance(inputs['input'], str) and open(inputs['input'])": "",
    "for name in inputs['input']: open(name)": "",
    "open(inputs['input'], 'w').write('x')": None,
    "open(inputs['other'])": None,
    "json.loads(inputs['input'])": None,
    "json.load(inputs['input'])": None,
    "yaml.safe_load(inputs['input'])": None,
    "inputs['input'].read()": None,
    "stream = json.loads('{}')\n        stream.read(inputs['input'])": None,
    "return {'output': inputs['input'] + 1}": None,
}
READER = """
import glob, json, os
from pathlib import Path
import xml.etree.ElementTree as ET
from d4pcwl.workflow.pe import GenericPE

def helper(name):
    with open(name) as file:
        return file.read()

class Reader(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input('input')
        self._add_output('output')

    def load_it(self, what):
        return helper(what)

    def use(self):
        return open(self.path)

    def process(self, inputs):
        {}
"""


@pytest.mark.parametrize(("line", "use"), OPENED.items(), ids=OPENED)
def test_an_input_whose_items_are_opened_is_found(
    tmp_path: Path, line: str, use: str | None
) -> None:
    text = READER.format(line) + (
        "\nfrom d4pcwl.workflow.graph import WorkflowGraph\n"
        "graph = WorkflowGraph()\ngraph.add(Reader())\n"
    )
    (pe,) = load(kit.write_script(tmp_path, text)).flat().pes
    opened = opened_inputs(pe, bare=takes_bare_items(pe))
    assert [one.use for one in opened] == ([] if use is None else [use])


def test_items_of_iterative_and_function_pes_are_the_whole(tmp_path: Path) -> None:
    text = (
        kit.HEAD
        + """
from dispel4py.base import SimpleFunctionPE

def words(path):
    return open(path).read()

class Lines(IterativePE):
    def _process(self, data):
        return open(data).read()

class Show(ConsumerPE):
    def _process(self, data):
        print(open(data).read())

graph = WorkflowGraph()
for pe in (SimpleFunctionPE(words), Lines(), Show()):
    graph.add(pe)
"""
    )
    pes = load(kit.write_script(tmp_path, text)).flat().pes
    assert [[o.use for o in opened_inputs(pe, bare=takes_bare_items(pe))] for pe in pes] == [
        ["File"]
    ] * 3


# -- scripts that are compiled and run --------------------------------------------------------


def simple(script: Path, *options: object, env: Mapping[str, str] | None = None) -> list[Any]:
    """What a plain run of a copy of the script's folder gives."""
    results = script.parent / "plain.jsonl"
    kit.command(
        "dispel4py", "simple", script.name, "--results", results, *options,
        cwd=script.parent, env=env,
    )  # fmt: skip
    found = kit.lines_of([results])
    results.unlink()
    return found


def files_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def run(
    script: Path, out: Path, job: Mapping[str, Any] | None = None, *options: object
) -> dict[str, Any]:
    """Compile and run a script under cwltool; nothing of the user's own is changed."""
    document = script.with_suffix(".cwl")
    kit.command("d4p2cwl", "-q", script, "-o", document, *options)
    before = files_below(script.parent)
    outputs, _ = kit.cwltool(document, job or {}, out)
    assert files_below(script.parent) == before
    return outputs


def results_of(outputs: Mapping[str, Any]) -> list[str]:
    found = [value for name, value in outputs.items() if name.endswith("results")]
    listed = [entry for value in found for entry in (value if isinstance(value, list) else [value])]
    return kit.lines_of([Path(entry["path"]) for entry in listed])


def names_of(value: Any) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    flat = [e for v in listed for e in (v if isinstance(v, list) else [v]) if e is not None]
    return sorted(entry["basename"] for entry in flat)


CORPUS = (
    kit.HEAD
    + """
import glob
import os

ROOT = './OUTPUT/'


class Texts(ProducerPE):
    def _process(self, inputs):
        for path in sorted(glob.glob(os.path.join(os.environ['CORPUS'], '*.txt'))):
            self.write('output', (os.path.basename(path)[:-4], path))


class Words(IterativePE):
    def _process(self, data):
        name, path = data
        with open(path) as text:
            return name, len(text.read().split())


class Store(IterativePE):
    def _process(self, data):
        name, count = data
        with open(ROOT + 'result_%s.txt' % name, 'w') as out:
            out.write('%d words' % count)
        return data


class Tally(GenericPE):
    def __init__(self):
        GenericPE.__init__(self)
        self._add_input('input', grouping='global')
        self._add_output('output')

    def process(self, inputs):
        with open('count.txt') as old:
            count = int(old.read()) + inputs['input'][1]
        with open('count.txt', 'w') as new:
            new.write(str(count))
        self.write('output', count)


graph = WorkflowGraph()
texts, words, store, tally = Texts(), Words(), Store(), Tally()
graph.connect(texts, 'output', words, 'input')
graph.connect(words, 'output', store, 'input')
graph.connect(store, 'output', tally, 'input')
"""
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    script = kit.write_script(tmp_path / "home", CORPUS, thesis__txt="my thesis", count__txt="100")
    kit.write_script(script.parent / "texts", "one two", "a-1.txt", b__txt="three")
    return script


@pytest.mark.parametrize("options", [[], ["--cut", "pe"], ["--shards", "2"]], ids=str)
def test_a_corpus_of_a_variables_folder(corpus: Path, tmp_path: Path, options: list[str]) -> None:
    job = {"CORPUS": {"class": "Directory", "location": str(corpus.parent / "texts")}}
    outputs = run(corpus, tmp_path / "out", job, *options)
    compiled = to_cwl(corpus)
    inputs = kit.by_id(compiled.document["inputs"])
    assert (inputs["CORPUS"]["type"], inputs["count_txt"]["type"]) == ("Directory", "File")
    assert not {"thesis_txt", "OUTPUT", "a_1_txt"} & {*inputs}
    assert any("CORPUS names a folder" in note for note in compiled.notes)

    assert names_of(outputs["result_txt"]) == ["result_a-1.txt", "result_b.txt"]
    assert not any(name.endswith("written") for name in outputs)
    (count,) = [outputs[name] for name in outputs if name.startswith("count_txt")]
    assert Path(count["path"]).read_text() == "103"

    (corpus.parent / "OUTPUT").mkdir()
    assert results_of(outputs) == simple(corpus, env={"CORPUS": "texts"})


def test_a_cut_gives_each_step_its_own_files(corpus: Path) -> None:
    main, *tools = to_cwl(corpus, cut="pe").document["$graph"]
    outputs = {
        tool["id"]: [o["id"] for o in tool["outputs"] if o["id"] not in ("printed", "results")]
        for tool in tools
    }
    assert outputs["Store"] == ["Store_output", "result_txt"]
    assert outputs["Tally"] == ["count_txt_out"]
    listings = {
        tool["id"]: {
            entry.get("entryname", entry.get("basename")): entry
            for entry in kit.by_class(tool["requirements"])["InitialWorkDirRequirement"]["listing"]
        }
        for tool in tools
    }
    assert listings["Store"]["OUTPUT"] == {
        "class": "Directory",
        "basename": "OUTPUT",
        "listing": [],
    }
    assert "OUTPUT" not in listings["Words"]
    assert listings["Tally"]["count.txt"]["writable"] is True
    assert "writable" not in listings["Words"]["count.txt"]
    assert all(not output.get("label", "").startswith(",") for output in main["outputs"])


def test_a_later_step_goes_on_with_what_an_earlier_one_changed(
    corpus: Path, tmp_path: Path
) -> None:
    text = (
        CORPUS
        + """

class Report(IterativePE):
    def _process(self, count):
        self.last = count

    def _postprocess(self):
        with open('count.txt') as count:
            self.write('output', [self.last, count.read()])


graph.connect(tally, 'output', Report(), 'input')
"""
    )
    corpus.write_text(text)
    (main, *_) = to_cwl(corpus, cut="pe").document["$graph"]
    steps = kit.by_id(main["steps"])
    assert kit.by_id(steps["Report"]["in"])["count_txt"]["source"] == "Tally/count_txt_out"
    job = {"CORPUS": {"class": "Directory", "location": str(corpus.parent / "texts")}}
    outputs = run(corpus, tmp_path / "out", job, "--cut", "pe")
    (corpus.parent / "OUTPUT").mkdir()
    assert results_of(outputs) == simple(corpus, env={"CORPUS": "texts"})


OPENS = (
    kit.HEAD
    + """
import json


class Read(GenericPE):
    def __init__(self):
        GenericPE.__init__(self)
        self._add_input('input')
        self._add_output('output')

    def process(self, inputs):
        with open(inputs['input']) as file:
            for name, value in sorted(json.load(file).items()):
                self.write('output', [name, value])


class Double(IterativePE):
    def _process(self, data):
        return [data[0], 2 * data[1]]


graph = WorkflowGraph()
graph.connect(Read(), 'output', Double(), 'input')
"""
)


@pytest.mark.parametrize("options", [[], ["--cut", "pe"]], ids=str)
def test_a_root_that_opens_its_input_takes_a_file(tmp_path: Path, options: list[str]) -> None:
    script = kit.write_script(tmp_path / "home", OPENS, data__json='{"a": 1, "b": 2}')
    compiled = to_cwl(script)
    assert kit.by_id(compiled.document["inputs"])["Read"]["type"] == "File"
    assert [n for n in compiled.notes if "Read opens the items" in n and "flow.py:20:" in n]
    data = {"class": "File", "location": str(script.parent / "data.json")}
    outputs = run(script, tmp_path / "out", {"Read": data}, *options)
    given = json.dumps({"Read": [{"input": "data.json"}]})
    assert results_of(outputs) == simple(script, "-d", given)


def test_the_other_inputs_of_such_a_root_are_given_as_json(tmp_path: Path) -> None:
    text = OPENS.replace(
        "_add_input('input')", "_add_input('input')\n        self._add_input('by')"
    )
    text = text.replace("[name, value])", "[name, value * inputs['by'][0]])")
    script = kit.write_script(tmp_path / "home", text, data__json='{"a": 1}')
    data = {"class": "File", "location": str(script.parent / "data.json")}
    outputs = run(script, tmp_path / "out", {"Read_input": data, "Read_by": "[5]"})
    given = json.dumps({"Read": [{"input": "data.json", "by": [5]}]})
    assert results_of(outputs) == simple(script, "-d", given)


VARIABLES = (
    kit.HEAD
    + """
import os

OUT = os.environ.get('OUT', 'plots')
TABLE = os.environ['TABLE']
STATIONS = os.environ.get('STATIONS', 'stations/')


class Table(ProducerPE):
    def _process(self, inputs):
        with open(TABLE) as table:
            for line in table:
                with open(STATIONS + line.strip() + '.txt') as station:
                    self.write('output', [line.strip(), station.read()])


class Plot(IterativePE):
    def __init__(self, kind):
        IterativePE.__init__(self)
        self.kind = kind

    def _process(self, data):
        with open(os.path.join(OUT, '{}.{}'.format(data[0], self.kind)), 'w') as plot:
            plot.write(data[1])
        with open(self.kind + '.log', 'a') as log:
            log.write(data[0])
        return data


graph = WorkflowGraph()
graph.connect(Table(), 'output', Plot('png'), 'input')
"""
)


def test_variables_that_name_a_file_a_folder_and_where_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = kit.write_script(tmp_path / "home", VARIABLES, table__txt="AQU\nBOL\n")
    kit.write_script(script.parent / "stations", "aquila", "AQU.txt", BOL__txt="bologna")
    monkeypatch.setenv("TABLE", "table.txt")
    inputs = kit.by_id(to_cwl(script).document["inputs"])
    types = {name: inputs[name]["type"] for name in ("OUT", "TABLE", "STATIONS")}
    assert types == {"OUT": "string", "TABLE": "File", "STATIONS": "Directory"}
    assert inputs["STATIONS"]["default"]["location"].endswith("/stations")
    table = {"class": "File", "location": str(script.parent / "table.txt")}
    outputs = run(script, tmp_path / "out", {"TABLE": table})
    plots = [names_of(value) for name, value in outputs.items() if name.endswith("png")]
    assert plots == [["AQU.png", "BOL.png"]]
    assert Path(outputs["png_log"]["path"]).read_text() == "AQUBOL"
    (script.parent / "plots").mkdir()
    assert results_of(outputs) == simple(script, env={"TABLE": "table.txt"})


def test_a_folder_that_is_read_and_written_is_a_copy(tmp_path: Path) -> None:
    text = (
        kit.HEAD
        + """
import os

WORK = 'work/'


class Source(ProducerPE):
    def _process(self, inputs):
        for name in sorted(os.listdir(WORK)):
            self.write('output', name)


class Shout(IterativePE):
    def _process(self, name):
        with open(os.path.join(WORK, name)) as file:
            text = file.read()
        with open(os.path.join(WORK, name), 'w') as file:
            file.write(text.upper())
        with open(os.path.join(WORK, 'list.txt'), 'a') as file:
            file.write(name)
        return text


graph = WorkflowGraph()
graph.connect(Source(), 'output', Shout(), 'input')
"""
    )
    script = kit.write_script(tmp_path / "home", text)
    kit.write_script(script.parent / "work", "one", "a.txt", b__txt="two")
    outputs = run(script, tmp_path / "out")
    assert Path(outputs["work_out"]["path"], "a.txt").read_text() == "ONE"
    assert results_of(outputs) == simple(script)


def test_folders_that_are_declared_are_made_unless_the_script_makes_them(tmp_path: Path) -> None:
    text = kit.CHAIN.replace(
        "        return 2 * data",
        "        open('GM/%d.txt' % data, 'w').close()\n        return 2 * data",
    )
    declared = "\nDouble.cwl = {'writes': {'GM': 'Directory'}}\n"
    script = kit.write_script(tmp_path / "home", text + declared)
    outputs = run(script, tmp_path / "out")
    assert len(outputs["GM"]["listing"]) == 5
    made = text.replace("graph = ", "import os\nos.path.isdir('GM') or os.mkdir('GM')\ngraph = ")
    kit.write_script(tmp_path / "home", made.replace("or os.mkdir", "or print or os.mkdir"))
    (tmp_path / "home" / "GM").mkdir()
    document = to_cwl(script).document
    listing = kit.by_class(document["requirements"])["InitialWorkDirRequirement"]["listing"]
    assert [entry["entryname"] for entry in listing] == ["flow.py"]
    os.rmdir(tmp_path / "home" / "GM")


def test_a_pattern_that_a_data_file_fits_makes_a_copy_of_it_and_no_more(tmp_path: Path) -> None:
    text = kit.CHAIN.replace(
        "        return 2 * data",
        "        open('a.txt').close()\n        open('%s.txt' % data, 'w').close()\n"
        "        return 2 * data",
    )
    script = kit.write_script(tmp_path, text, a__txt="mine")
    document = to_cwl(script, shards=2).document
    double = kit.by_id(document["$graph"])["Double"]
    assert {output["id"] for output in double["outputs"]} == {"results", "txt", "printed"}
    listing = kit.by_class(double["requirements"])["InitialWorkDirRequirement"]["listing"]
    assert {entry["entryname"]: entry.get("writable") for entry in listing} == {
        "flow.py": None,
        "a.txt": True,
    }


def test_what_instances_are_given_names_their_files(tmp_path: Path) -> None:
    text = (
        kit.HEAD
        + """
import settings


class Save(IterativePE):
    def __init__(self, path):
        IterativePE.__init__(self)
        self.path = path

    def _process(self, data):
        save(self.path, data)
        with open(settings.LOG, 'a') as log:
            log.write('x')


class Numbers(ProducerPE):
    def _process(self, inputs):
        for number in range(3):
            self.write('output', number)


def save(path, data):
    with open(path, 'a') as out:
        out.write(str(data))


graph = WorkflowGraph()
numbers, one = Numbers(), Save('one.txt')
graph.connect(numbers, 'output', one, 'input')
"""
    )
    script = kit.write_script(tmp_path / "home", text, settings__py="LOG = 'all.log'\n")
    _, *tools = to_cwl(script, cut="pe").document["$graph"]
    outputs = {tool["id"]: {o["id"] for o in tool["outputs"]} for tool in tools}
    assert outputs["Numbers"] == {"Numbers_output", "printed"}
    assert "all_log" in outputs["Save"]


NOTES = {
    "import sys\nNUMBER = len(sys.argv)": (r"flow\.py:2: reads sys\.argv"),
    "from sys import argv\nNUMBER = len(argv)": (r"flow\.py:2: reads sys\.argv"),
    "import argparse\ndef never(): return argparse.ArgumentParser().parse_args()": (
        r"flow\.py:2: reads the command line"
    ),
    "import os\nCAT = os.environ.get('CAT', '')\ndef read(): return open(CAT)": (
        r"flow\.py:2: the environment variable CAT names a file"
    ),
}


@pytest.mark.parametrize(("text", "note"), NOTES.items(), ids=NOTES)
def test_compiling_tells_of_what_a_step_cannot_have(tmp_path: Path, text: str, note: str) -> None:
    import re

    compiled = to_cwl(kit.write_script(tmp_path, f"{text}\n{kit.CHAIN}"))
    assert any(re.search(note, said) for said in compiled.notes), compiled.notes


def test_arguments_of_a_script_that_runs_itself_are_nobodys(tmp_path: Path) -> None:
    text = "import sys\n" + kit.CHAIN + "\nif __name__ == '__main__':\n    print(sys.argv)\n"
    assert to_cwl(kit.write_script(tmp_path, text)).notes == []
