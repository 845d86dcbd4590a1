"""dispel4py's import names: ours alone, and beside upstream's package."""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import textwrap
import tomllib
import types
import venv
from pathlib import Path

import cwl_kit as kit
import pytest

import d4pcwl
from d4pcwl.errors import D4pcwlError, InputError, ScriptError, UsageError

ROOT = Path(__file__).parent.parent
UPSTREAM = "stream-d4py==2.9.1"
RANDOM = {
    "group_by",
    "group_by_stateful",
    "grouping_split_merge",
    "word_count",
    "word_count_filter",
}
TO_ALL = {"grouping_onetoall", "grouping_onetoall_stateful"}


def compat(name):
    return importlib.import_module(f"dispel4py.{name}")


def pipeline():
    t = compat("examples.graph_testing.testing_PEs")
    graph, source, copy = d4pcwl.WorkflowGraph(), t.TestProducer(), t.TestOneInOneOut()
    graph.connect(source, "output", copy, "input")
    return graph, source, copy


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("core", "DESCRIPTION GROUPING META NAME TYPE WRITER GenericPE"),
        (
            "base",
            "BasePE CompositePE ConsumerPE GenericPE IterativePE NAME ProducerPE SimpleFunctionPE "
            "WorkflowGraph create_iterative_chain",
        ),
        ("workflow_graph", "WorkflowGraph WorkflowNode draw drawDot write_image DIRECTION"),
        ("utils", "findWorkflowGraph loadGraph loadGraphFromFile load_graph make_hash total_size"),
        (
            "new.processor",
            "GenericWrapper create_arg_parser create_inputs load_graph_and_inputs simpleLogger",
        ),
        ("new.simple_process", "process process_and_return"),
        ("new.multi_process", "process parse_args STATUS_TERMINATED"),
        ("new.mpi_process", "process parse_args STATUS_TERMINATED"),
        ("new.logger", "logger print_stack_trace simpleLogger"),
        ("new.mappings", "config"),
        ("new.monitoring", "ProcessTimingPE Timer"),
        ("new.aggregate", "parallel_avg parallel_count parallel_std_dev SumPE CountPE"),
        ("new.aggregate", "parallelAvg parallelCount parallelMax parallelMin parallelSum"),
        ("visualisation", "display"),
        ("examples.graph_testing.testing_PEs", "TestProducer WordCounter RandomFilter"),
        ("examples.graph_testing.testing_PEs", "TestIterative IntegerProducer PrintDataConsumer"),
    ],
)
def test_names_of_upstream_are_there_and_ours(module, names):
    found = compat(module)
    assert "compat" in found.__file__
    assert set(names.split()) <= set(found.__all__)
    assert all(hasattr(found, name) for name in found.__all__)


def test_classes_are_the_ones_of_d4pcwl():
    for name in ("GenericPE", "IterativePE", "CompositePE", "WorkflowGraph"):
        assert getattr(compat("base"), name) is getattr(d4pcwl, name)


def test_an_unknown_submodule_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'dispel4py\.no_such'"):
        compat("no_such")


def test_imports_are_cheap():
    heavy = ["numpy", "networkx", "ruamel", "multiprocessing", "IPython"]
    code = (
        "import d4pcwl, sys, dispel4py.new.processor, dispel4py.new.multi_process, "
        "dispel4py.new.aggregate, dispel4py.visualisation, "
        "dispel4py.examples.graph_testing.testing_PEs\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert output_of(sys.executable, code).strip() == "[]"


PLAIN = """
from dispel4py.base import IterativePE
from dispel4py.new.multi_process import process
from dispel4py.workflow_graph import WorkflowGraph

class Double(IterativePE):
    def _process(self, data):
        return 2 * data

graph = WorkflowGraph()
graph.add(Double())
"""


@pytest.fixture
def as_from_a_wheel(tmp_path):
    """The Python of an environment into which the files of the wheel are put."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wheel = wheel["targets"]["wheel"]
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for package in wheel["packages"]:
        (site / package).symlink_to(ROOT / package)
    for file, name in wheel["force-include"].items():
        (site / name).write_text((ROOT / file).read_text())
    assert sorted(entry.name for entry in site.iterdir()) == ["d4pcwl", "d4pcwl-names.pth"]
    return tmp_path / "venv" / "bin" / "python"


@pytest.mark.parametrize("wheel", [True, False])
def test_scripts_import_the_names_alone(wheel, tmp_path, request):
    python = request.getfixturevalue("as_from_a_wheel") if wheel else sys.executable
    (tmp_path / "plain.py").write_text(PLAIN)
    done = subprocess.run([python, "plain.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith("does not run it; type: dispel4py simple plain.py\n")


def test_upstreams_command_by_its_module(tmp_path):
    (tmp_path / "plain.py").write_text(PLAIN)
    command = [sys.executable, "-m", "dispel4py.new.processor", "multi", "plain.py", "-n", "2"]
    given = ["-d", '{"Double": [{"input": 4}]}']
    done = subprocess.run([*command, *given], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout)["data"] == 8, done.stderr


def test_older_names():
    class Own(d4pcwl.SimpleFunctionPE):
        pass

    chain = compat("base").create_iterative_chain([abs], FunctionPE_class=Own)
    assert [type(pe) for pe in chain.nodes] == [Own]
    assert issubclass(InputError, ValueError)
    with pytest.raises(ValueError, match="no such PE"):
        d4pcwl.run(pipeline()[0], {"Nobody": 1})


def test_the_logger_logs_to_standard_error():
    code = (
        "import d4pcwl\nfrom dispel4py.new.logger import logger, print_stack_trace\n"
        "logger.info('begun')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    print_stack_trace()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    first, *_, last = done.stderr.splitlines()
    assert first.endswith(" INFO begun")
    assert last == "ZeroDivisionError: division by zero"


EXAMPLES = [
    path.stem
    for path in Path(d4pcwl.__file__).parent.glob(
        "compat/names/dispel4py/examples/graph_testing/*.py"
    )
    if path.stem not in ("__init__", "testing_PEs", "_chains")
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_graphs_run_by_name(name):
    script = d4pcwl.load(f"dispel4py.examples.graph_testing.{name}")
    if name == "delayed_pipeline":
        script.module.cons2.baseObject.delay = 0
    assert script.attr == "graph"
    for mapping in ("simple", "multi"):
        results = d4pcwl.run(script, mapping=mapping, processes=3, iterations=3)
        assert results or name in RANDOM, name


def test_example_graphs_run_by_command():
    example = "dispel4py.examples.graph_testing.word_count"
    done = kit.command("dispel4py", "simple", example, "-i", "10")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["pe"], line["port"]) for line in lines] == [("WordCounter", "output")] * 10


# -- utils, visualisation ------------------------------------------------------------------------


def test_find_workflow_graph():
    module = types.ModuleType("script")
    find = compat("utils").findWorkflowGraph
    with pytest.raises(ScriptError, match="no workflow graph"):
        find(module)
    module.one = d4pcwl.WorkflowGraph()
    module.part = d4pcwl.create_iterative_chain([abs])
    assert find(module) is module.one
    assert find(module, "part") is module.part
    module.two = d4pcwl.WorkflowGraph()
    with pytest.raises(ScriptError, match="several workflow graphs: one, two"):
        find(module)
    with pytest.raises(ScriptError, match="no attribute 'three'"):
        find(module, "three")


def test_load_graph(tmp_path):
    script = tmp_path / "compat_script.py"
    script.write_text("from dispel4py.workflow_graph import WorkflowGraph\ng = WorkflowGraph()\n")
    utils = compat("utils")
    assert isinstance(utils.load_graph(str(script)), d4pcwl.WorkflowGraph)
    assert isinstance(utils.loadGraphFromFile("any", str(script), "g"), d4pcwl.WorkflowGraph)
    with pytest.raises(ScriptError):
        utils.load_graph(str(tmp_path / "none.py"))


def test_measures(capsys):
    utils = compat("utils")
    assert utils.make_hash({"a": [1, {2}]}) == utils.make_hash({"a": [1.0, {2}]})
    item = ["text" * 100]
    assert utils.total_size([item, item]) < utils.total_size([item]) + 100
    assert utils.total_size(Ellipsis, {type(...): lambda part: ["x" * 1000]}) > 1000
    utils.total_size(item, verbose=True)
    assert "list" in capsys.readouterr().err


def test_display_shows_an_image(monkeypatch):
    shown = []
    stub = types.ModuleType("IPython.display")
    stub.Image = lambda data: ("image", data)
    stub.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", stub)
    visualisation = compat("visualisation")
    monkeypatch.setattr(visualisation, "drawDot", lambda graph: b"png")
    visualisation.display(pipeline()[0])
    assert shown == [("image", b"png")]


# -- running -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["object", "name", "id"])
def test_process_and_return_runs_the_pes_themselves(key):
    graph, source, copy = pipeline()
    given = {"object": source, "name": "TestProducer", "id": source.id}[key]
    run = compat("new.simple_process").process_and_return
    assert run(graph, {given: 3}) == {copy.id: {"output": [1, 2, 3]}}
    assert source.counter == 3
    assert run(graph, {given: 1}) == {copy.id: {"output": [4]}}


def test_process_and_return_keeps_all_state_in_one_object():
    t = compat("examples.graph_testing.testing_PEs")
    graph, words, counter = d4pcwl.WorkflowGraph(), t.RandomWordProducer(), t.WordCounter()
    counter.numprocesses = 3
    graph.connect(words, "output", counter, "input")
    results = compat("new.simple_process").process_and_return(graph, {words: 50})
    assert sum(counter.mywords.values()) == len(results[counter.id]["output"]) == 50
    assert counter.numprocesses == 3


def test_resultmappings_choose_the_results():
    graph, source, _ = pipeline()
    run = compat("new.simple_process").process_and_return
    assert run(graph, {source: 2}, {source.id: ["output"]}) == {source.id: {"output": [1, 2]}}
    with pytest.raises(InputError, match="no such PE"):
        run(graph, {source: 2}, {"Nobody": ["output"]})


def test_process_prints_inputs_and_results(capsys):
    graph, source, _ = pipeline()
    assert compat("new.simple_process").process(graph, {source: 2}) is None
    assert capsys.readouterr().out == (
        "Inputs: {'TestProducer0': 2}\nOutputs: {'TestOneInOneOut1': {'output': [1, 2]}}\n"
    )


def test_composites_need_not_be_flattened_before():
    graph, chain = d4pcwl.WorkflowGraph(), d4pcwl.create_iterative_chain([abs, str])
    source = compat("examples.graph_testing.testing_PEs").TestProducer()
    graph.connect(source, "output", chain, "input")
    results = compat("new.simple_process").process_and_return(graph, {source: 2})
    assert results == {"PE_str2": {"output": ["1", "2"]}}


@pytest.mark.parametrize("simple", [False, True])
def test_multi_process_gives_results_by_a_queue(simple):
    graph, source, copy = pipeline()
    args = argparse.Namespace(num=3, simple=simple, results=True)
    found = compat("new.multi_process").process(graph, inputs={source: 5}, args=args)
    terminated = compat("new.processor").STATUS_TERMINATED
    *items, end = [found.get_nowait() for _ in range(6)]
    assert end == terminated
    assert sorted(items) == [(copy.id, "output", n) for n in range(1, 6)]
    assert source.counter == 0


def test_multi_process_without_results_returns_nothing():
    graph, source, _ = pipeline()
    args = argparse.Namespace(num=2, simple=False)
    assert compat("new.multi_process").process(graph, {source: 5}, args) is None


def test_a_failure_is_raised():
    graph, source, _ = pipeline()
    source.outputnames = ["elsewhere"]
    with pytest.raises(D4pcwlError, match="no output 'elsewhere'"):
        compat("new.simple_process").process_and_return(graph, {source: 1})


def test_the_modules_of_mappings():
    for name, module in compat("new.mappings").config.items():
        assert callable(importlib.import_module(module).process), name
    assert {"simple", "multi"} <= set(compat("new.mappings").config)
    given = compat("new.multi_process").parse_args(
        ["-n", "4", "-s", "else"], argparse.Namespace(a=1)
    )
    assert (given.num, given.simple, given.a) == (4, True, 1)


# -- processor -----------------------------------------------------------------------------------


def test_create_inputs(tmp_path):
    processor = compat("new.processor")
    graph, source, _ = pipeline()
    parse = processor.create_arg_parser().parse_args
    assert processor.create_inputs(parse(["simple", "x", "-i", "3"]), graph) == {source.id: 3}
    given = processor.create_inputs(parse(["simple", "x", "-d", '{"TestProducer": 2}']), graph)
    assert given == {source.id: 2}
    file = tmp_path / "inputs.json"
    file.write_text('{"TestProducer0": [{}]}')
    both = parse(["simple", "x", "-d", '{"TestProducer": 2}', "-f", str(file)])
    assert processor.create_inputs(both, graph) == {source.id: [{}]}
    with pytest.raises(InputError, match="no such PE"):
        processor.create_inputs(parse(["simple", "x", "-d", '{"Nobody": 2}']), graph)


def test_load_graph_and_inputs(tmp_path):
    script = tmp_path / "compat_loaded.py"
    script.write_text(
        "from dispel4py.base import create_iterative_chain\n"
        "from dispel4py.examples.graph_testing.testing_PEs import TestProducer\n"
        "from dispel4py.workflow_graph import WorkflowGraph\n"
        "g = WorkflowGraph()\n"
        "g.connect(TestProducer(), 'output', create_iterative_chain([abs, str]), 'input')\n"
    )
    processor = compat("new.processor")
    args = processor.create_arg_parser().parse_args(["simple", str(script), "-i", "2"])
    graph, inputs = processor.load_graph_and_inputs(args)
    assert [pe.name for pe in graph.nodes] == ["TestProducer", "PE_abs", "PE_str"]
    assert inputs == {"TestProducer0": 2}


def test_get_inputs_looks_for_pe_name_and_id():
    get_inputs, (_, source, _) = compat("new.processor").get_inputs, pipeline()
    assert [get_inputs(source, {key: 1}) for key in (source, source.name, source.id)] == [1, 1, 1]
    assert get_inputs(source, {"else": 1}) is None
    assert get_inputs(source, None) is None


@pytest.mark.parametrize("provided", [2, [{}, {}]])
def test_a_wrapper_runs_an_instance(provided):
    processor, (_, source, _) = compat("new.processor"), pipeline()
    written = []

    class Wrapper(processor.GenericWrapper):
        def _write(self, name, data):
            written.append((name, data))

        def _terminate(self):
            written.append("end")

    wrapper = Wrapper(source)
    wrapper.provided_inputs = provided
    wrapper.process()
    assert written == [("output", 1), ("output", 2), "end"]


def test_assign_and_connect():
    processor, (graph, source, copy) = compat("new.processor"), pipeline()
    copy.inputconnections["input"]["grouping"] = [0]
    copy.numprocesses = 2
    processes, inputs, outputs = processor.assign_and_connect(graph, 3)
    assert processes == {source.id: range(1), copy.id: range(1, 3)}
    assert inputs == {0: {}, 1: {"input": [0]}, 2: {"input": [0]}}
    [(name, group)] = outputs[0]["output"]
    assert (name, group.destinations, group.group_by) == ("input", [1, 2], [0])
    assert group.get_destination({"input": ["a"]}) == group.get_destination({"input": ("a", 2)})
    assert processor.assign_and_connect(graph, 2) is None


def test_communications():
    p = compat("new.processor")
    shuffle = p.ShuffleCommunication(1, [0, 1], [5, 6, 7])
    assert [shuffle.get_destination({})[0] for _ in range(4)] == [6, 7, 5, 6]
    assert p.AllToOneCommunication([5, 6]).get_destination({}) == [5]
    assert p.OneToAllCommunication([5, 6]).get_destination({}) == [5, 6]


# -- aggregation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "processes"), [("simple", 1), ("multi", 2), ("multi", 16)])
def test_parallel_aggregation(how, processes):
    a = compat("new.aggregate")
    values = [[number, -(number**2), number % 7] for number in range(-20, 0)]
    columns = list(zip(*values, strict=True))
    makers = {
        "count": a.parallel_count(),
        "sum": a.parallel_sum([0, 2]),
        "min": a.parallel_min([2, 1]),
        "max": a.parallel_max([1]),
        "avg": a.parallel_avg(1),
        "dev": a.parallel_std_dev(1),
    }
    graph, source = d4pcwl.WorkflowGraph(), d4pcwl.SimpleFunctionPE(list)
    for composite in makers.values():
        graph.connect(source, "output", composite, "input")
    items = [{"input": value} for value in values]
    results = d4pcwl.run(graph, {source: items}, mapping=how, processes=processes)
    found = {
        name: results[composite.outputmappings["output"][0]]["output"]
        for name, composite in makers.items()
    }
    deviation, *sums = found.pop("dev")[0]
    assert found == {
        "count": [[20]],
        "sum": [[sum(columns[0]), sum(columns[2])]],
        "min": [[min(columns[2]), min(columns[1])]],
        "max": [[max(columns[1])]],
        "avg": [[statistics.mean(columns[1]), 20, sum(columns[1])]],
    }
    assert deviation == pytest.approx(statistics.stdev(columns[1]))
    assert sums == [20, sum(columns[1]), sum(value**2 for value in columns[1])]


def test_parts_are_aggregated_in_parallel():
    graph, source = d4pcwl.WorkflowGraph(), d4pcwl.SimpleFunctionPE(list)
    graph.connect(source, "output", compat("new.aggregate").parallel_sum(), "input")
    processes, _, _ = compat("new.processor").assign_and_connect(graph, 6)
    assert len(processes["SumPE1"]) > 1
    assert len(processes["SumPE2"]) == 1


def test_aggregating_nothing():
    a = compat("new.aggregate")
    composites = [a.parallel_count(), a.parallel_max(), a.parallel_avg(), a.parallel_std_dev()]
    graph, source = d4pcwl.WorkflowGraph(), d4pcwl.SimpleFunctionPE(list)
    for composite in composites:
        graph.connect(source, "output", composite, "input")
    results = d4pcwl.run(graph, {source: 0})
    ends = [composite.outputmappings["output"][0] for composite in composites]
    assert [results[end].get("output") for end in ends] == [[[0]], [[None]], None, None]


def test_continuous_reduction():
    class Total(compat("new.aggregate").ContinuousReducePE):
        def _process(self, item):
            self.value = [self.value[0] + item[0]]

    graph, total = d4pcwl.WorkflowGraph(), Total()
    graph.add(total)
    given = {total: [{"input": [n]} for n in (1, 2, 3)]}
    assert d4pcwl.run(graph, given)[total]["output"] == [[1], [3], [6]]


# -- PEs to try graphs with ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "inputs", "expected"),
    [
        ("TestProducer", (), 3, {"output": [1, 2, 3]}),
        ("TestProducer", (2,), 2, {"output0": [1, 2], "output1": [1, 2]}),
        ("NumberProducer", (2,), 2, {"output": ["1:0", "1:1", "2:0", "2:1"]}),
        ("TestMultiProducer", (3,), 2, {"output": [0, 1, 2, 0, 1, 2]}),
        ("TestOneInOneOut", (), [{"input": 0}], {"output": [0]}),
        ("TestOneInOneOutWriter", (), [{"input": None}], {"output": [None]}),
        ("TestDelayOneInOneOut", (0.001,), [{"input": 1}], {"output": [1]}),
        (
            "TestTwoInOneOut",
            (),
            [{"input0": 1, "input1": 2}, {"input1": 3}],
            {"output": ["12", "3"]},
        ),
        (
            "WordCounter",
            (),
            [{"input": ["a"]}, {"input": ["b"]}, {"input": ["a"]}],
            {"output": [["a", 1], ["b", 1], ["a", 2]]},
        ),
    ],
)
def test_testing_pes(name, arguments, inputs, expected):
    pe = getattr(compat("examples.graph_testing.testing_PEs"), name)(*arguments)
    graph = d4pcwl.WorkflowGraph()
    graph.add(pe)
    assert d4pcwl.run(graph, {pe: inputs})[pe] == expected


def test_testing_pes_of_chance():
    t = compat("examples.graph_testing.testing_PEs")
    graph, words, filtered = d4pcwl.WorkflowGraph(), t.RandomWordProducer(), t.RandomFilter()
    graph.connect(words, "output", filtered, "input")
    found = d4pcwl.run(graph, {words: 200})[filtered]["output"]
    assert 0 < len(found) < 200
    assert {word for (word,) in found} <= set(t.RandomWordProducer.words)


def test_provenance_logger(capsys):
    pe = compat("examples.graph_testing.testing_PEs").ProvenanceLogger()
    graph = d4pcwl.WorkflowGraph()
    graph.add(pe)
    d4pcwl.run(graph, {pe: [{"metadata": "m" * 400}]})
    assert capsys.readouterr().out == f"ProvenanceLogger0 (rank 0): metadata: {'m' * 300}\n"


@pytest.mark.parametrize("name", ["TestOneInOneOut", "TestOneInOneOutWriter"])
@pytest.mark.parametrize("how", ["simple", "multi"])
def test_a_timed_pe_does_what_it_did(name, how, capfd):
    t = compat("examples.graph_testing.testing_PEs")
    graph, source = d4pcwl.WorkflowGraph(), t.TestProducer()
    timed = compat("new.monitoring").ProcessTimingPE(getattr(t, name)())
    graph.connect(source, "output", timed, "input")
    results = d4pcwl.run(graph, {source: 3}, mapping=how, processes=2)
    assert timed.name == name
    assert results[timed]["output"] == [1, 2, 3]
    assert "Average processing time: " in capfd.readouterr().out


# -- beside upstream -----------------------------------------------------------------------------


def output_of(python, code, *arguments):
    done = subprocess.run(
        [python, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def json_of(python, code, *arguments):
    return json.loads(output_of(python, code, *arguments).splitlines()[-1])


@pytest.fixture(scope="session")
def beside(request, tmp_path_factory):
    """The Python of an environment that has upstream's package, and ours by its path."""
    cache = getattr(request.config, "cache", None)
    version = f"{UPSTREAM.replace('==', '-')}-py{sys.version_info[0]}{sys.version_info[1]}"
    folder = Path(cache.mkdir(version) if cache else tmp_path_factory.mktemp(version))
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--retries=1",
            UPSTREAM,
        ]
        try:
            subprocess.run(install, check=True, capture_output=True, text=True, timeout=300)
        except subprocess.SubprocessError as error:
            reason = (str(getattr(error, "stderr", None) or error).splitlines() or [""])[-1]
            pytest.skip(f"{UPSTREAM} cannot be installed: {reason}")
        done.touch()
    purelib = output_of(python, "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(purelib, "d4pcwl-under-test.pth").write_text(f"{ROOT}\n{ROOT / 'd4pcwl/compat/names'}\n")
    return str(python)


@pytest.fixture(scope="session")
def examples(beside):
    """The names of upstream's example graphs."""
    code = """
        import json, pkgutil, dispel4py.examples.graph_testing as e
        print(json.dumps([m.name for m in pkgutil.iter_modules(e.__path__)]))
    """
    return [name for name in json_of(beside, code) if name != "testing_PEs"]


RUN_UPSTREAM = """
    import contextlib, importlib, io, json, sys
    from dispel4py.new import processor
    from dispel4py.new.simple_process import process_and_return
    from dispel4py.workflow_graph import WorkflowNode
    found = {}
    for name in sys.argv[1:]:
        WorkflowNode.node_counter = 0  # so that its ids begin at 0, as ours do
        module = importlib.import_module("dispel4py.examples.graph_testing." + name)
        graph = module.graph
        if name == "delayed_pipeline":
            module.cons2.baseObject.delay = 0
        graph.flatten()
        nodes = [node.get_contained_object() for node in graph.graph.nodes()]
        with contextlib.redirect_stdout(io.StringIO()):
            roots = [n for n in graph.graph.nodes() if processor._is_root(n, graph)]
            inputs = {node.get_contained_object(): 4 for node in roots}
            results = process_and_return(graph, inputs)
        found[name] = [[pe.split("0")[0].rstrip("123456789"), out] for pe, out in results.items()]
    print(json.dumps(found))
"""

RUN_OURS = """
    import contextlib, importlib, io, json, os, sys
    order, *names = sys.argv[1:]
    if order == "d4pcwl first":
        import d4pcwl
    folder = "dispel4py.examples.graph_testing."
    modules = {name: importlib.import_module(folder + name) for name in names}
    import d4pcwl, dispel4py.base
    assert (dispel4py.base.GenericPE is d4pcwl.GenericPE) == (order == "d4pcwl first")
    modules["delayed_pipeline"].cons2.baseObject.delay = 0
    found = {}
    for name, module in modules.items():
        for mapping, processes in (("simple", None), ("multi", 2), ("multi", 5)):
            results = d4pcwl.run(module.graph, mapping=mapping, processes=processes, iterations=4)
            found.setdefault(name, []).append(
                [[pe.rstrip("_0123456789"), out] for pe, out in results.items()]
            )
        streamed = [[r.pe, r.output] for r in d4pcwl.stream(module.graph, iterations=4)]
        found[name].append(len(streamed))
    print(json.dumps(found))
"""


def in_any_order(results):
    """Results without the order of PEs and of items, which upstream does not promise."""
    return sorted(
        [pe, output, sorted(items, key=json.dumps)]
        for pe, outputs in results
        for output, items in outputs.items()
    )


@pytest.fixture(scope="session")
def upstream_results(beside, examples):
    return json_of(beside, RUN_UPSTREAM, *examples)


@pytest.mark.parametrize("order", ["d4pcwl first", "dispel4py first"])
def test_upstreams_examples_run_with_its_results(beside, examples, upstream_results, order):
    ours = json_of(beside, RUN_OURS, order, *examples)
    for name in examples:
        *runs, streamed = ours[name]
        expected = in_any_order(upstream_results[name])
        if name not in RANDOM:
            assert streamed == sum(len(items) for _, _, items in expected)
        for number, results in enumerate(runs):
            if name in TO_ALL and number == 1:
                # Under simple, 'all' means one of one instance; under the others, each of two.
                expected = [[pe, output, sorted(items * 2)] for pe, output, items in expected]
            if name not in RANDOM:
                assert in_any_order(results) == expected, name
            elif name in ("word_count", "group_by", "group_by_stateful"):
                assert sum(len(items) for _, _, items in in_any_order(results)) == 4, name


def test_process_and_return_agrees_with_upstreams(beside, examples, upstream_results):
    code = RUN_OURS.replace(
        'for mapping, processes in (("simple", None), ("multi", 2), ("multi", 5)):',
        'for _ in "1":',
    ).replace(
        "d4pcwl.run(module.graph, mapping=mapping, processes=processes, iterations=4)",
        "importlib.import_module('dispel4py.new.simple_process').process_and_return("
        "module.graph, {pe: 4 for pe in d4pcwl.workflow.flat.flatten(module.graph).roots})",
    )
    ours = json_of(beside, code, "d4pcwl first", *examples)
    for name in set(examples) - RANDOM:
        assert in_any_order(ours[name][0]) == in_any_order(upstream_results[name]), name


SWEEP = """
    import contextlib, importlib, importlib.util, io, json, os, pathlib, sys
    root = pathlib.Path(importlib.util.find_spec("dispel4py").origin).parent
    if sys.argv[1] == "d4pcwl first":
        import d4pcwl
    failed = {}
    for path in sorted(root.rglob("*.py")):
        parts = ("dispel4py", *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                importlib.import_module(name)
        except Exception as error:
            failed[name] = repr(error)
    print(json.dumps(failed))
"""


def test_whose_names_they_are_where_upstream_is_installed_too(beside):
    code = "import dispel4py.base, d4pcwl; print(dispel4py.base.GenericPE is d4pcwl.GenericPE)"
    assert output_of(beside, code) == "False\n"
    assert output_of(beside, f"import d4pcwl; {code}") == "True\n"


def test_upstreams_other_modules_still_import(beside):
    alone = json_of(beside, SWEEP, "dispel4py first")
    with_ours = json_of(beside, SWEEP, "d4pcwl first")
    assert set(with_ours) <= set(alone), with_ours


def test_edges_between_the_same_two_pes_of_upstreams_graph(beside):
    code = """
        import json
        from dispel4py.core import GenericPE
        from dispel4py.workflow_graph import WorkflowGraph
        import d4pcwl

        class Split(GenericPE):
            def __init__(self):
                super().__init__()
                for name in ("odd", "even"):
                    self._add_output(name)
                self.count = 0
            def _process(self, inputs):
                self.count += 1
                self.write("odd" if self.count % 2 else "even", self.count)

        class Join(GenericPE):
            def __init__(self):
                super().__init__()
                for name in ("odd", "even"):
                    self._add_input(name)
                self._add_output("output")
            def _process(self, inputs):
                for name, item in inputs.items():
                    self.write("output", [name, item])

        graph, split, join = WorkflowGraph(), Split(), Join()
        graph.connect(split, "odd", join, "odd")
        graph.connect(split, "even", join, "even")
        found = []
        for mapping in ("simple", "multi"):
            results = d4pcwl.run(graph, {split: 4}, mapping=mapping, processes=2)
            found.append(sorted(results[join]["output"]))
        print(json.dumps(found))
    """
    expected = [["even", 2], ["even", 4], ["odd", 1], ["odd", 3]]
    assert json_of(beside, code) == [expected, expected]


def test_a_mapping_that_is_not_there_is_said(monkeypatch):
    graph, source, _ = pipeline()
    process = compat("new.mpi_process").process
    monkeypatch.setattr("d4pcwl.runtime.mappings.registry.BUILT_IN", ("simple",))
    with pytest.raises(UsageError, match="no mapping is called 'mpi'"):
        process(graph, {source: 1})
