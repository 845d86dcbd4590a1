"""``d4pcwl-runner`` streams: no barriers between scatters, and many jobs in one run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from runner_kit import CHAIN, LOGGING_TOOL, run, write

HEAD = """
cwlVersion: v1.2
class: Workflow
requirements:
  ScatterFeatureRequirement: {}
  SubworkflowFeatureRequirement: {}
  StepInputExpressionRequirement: {}
  InlineJavascriptRequirement: {}
"""


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return write(tmp_path, tool_cwl=LOGGING_TOOL, chain_cwl=CHAIN)


def job(folder: Path, texts: list[str], **more: object) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps({"texts": texts, "log": str(folder / "log"), **more}))
    return path


def events(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


@pytest.mark.parametrize("mapping_options", [("--mapping", "simple"), ("-n", "2")])
def test_an_element_goes_on_before_the_last_is_there(
    mapping_options: tuple[str, ...], chain: Path
) -> None:
    """The last element begins only when others have come through all stages."""
    wait = """if [ "$2$0" = firstt11 ]; then
      for text in t0 t5; do until grep -q "third $text" "$1"; do sleep 0.02; done; done
    fi
    """
    note = 'echo "$2 $0" >> "$1"'
    write(chain, tool_cwl=LOGGING_TOOL.replace(note, wait + note))
    texts = [f"t{number}" for number in range(12)]
    made, _ = run(chain / "chain.cwl", *mapping_options, job(chain, texts), outdir=chain / "out")
    assert made["third"] == texts
    order = events(chain)
    assert sorted(order) == sorted(f"{s} {t}" for s in ("first", "second", "third") for t in texts)
    assert order.index("third t0") < order.index("first t11")
    assert order.index("third t5") < order.index("first t11")


def test_an_element_goes_on_while_another_still_runs(tmp_path: Path) -> None:
    """The first element ends only when the second has come through all stages."""
    wait = LOGGING_TOOL.replace(
        '    if [ "$0" = bad ]',
        '    if [ "$2$0" = firstwait ]; then\n'
        '      until grep -q "third go" "$1"; do sleep 0.02; done\n'
        "    fi\n"
        '    if [ "$0" = bad ]',
    )
    write(tmp_path, tool_cwl=wait, chain_cwl=CHAIN)
    made, _ = run(
        tmp_path / "chain.cwl", "-n", "2", job(tmp_path, ["wait", "go"]), outdir=tmp_path / "out"
    )
    assert made["third"] == ["wait", "go"]
    assert events(tmp_path)[-1] == "third wait"


def test_crossproducts_have_no_barrier_either(chain: Path) -> None:
    write(
        chain,
        cross_cwl=HEAD
        + """
inputs: {texts: 'string[]', stages: 'string[]', log: string}
outputs: {texts: {type: Any, outputSource: second/text}}
steps:
  first:
    run: tool.cwl
    scatter: text
    in: {text: texts, log: log, stage: {default: first}}
    out: [text]
  second:
    run: tool.cwl
    scatter: [text, stage]
    scatterMethod: nested_crossproduct
    in: {text: first/text, log: log, stage: stages}
    out: [text]
""",
    )
    order = job(chain, ["a", "b", "c"], stages=["x", "y"])
    made, _ = run(chain / "cross.cwl", "--mapping", "simple", order, outdir=chain / "out")
    assert made["texts"] == [["a", "a"], ["b", "b"], ["c", "c"]]
    assert events(chain) == [
        *("first a", "x a", "y a"),
        *("first b", "x b", "y b"),
        *("first c", "x c", "y c"),
    ]


def test_scattered_subworkflows_stream_in_and_out(chain: Path) -> None:
    write(
        chain,
        outer_cwl=HEAD
        + """
inputs: {texts: 'string[]', log: string}
outputs:
  texts: {type: Any, outputSource: last/text}
  third: {type: Any, outputSource: inner/third}
steps:
  start:
    run: tool.cwl
    scatter: text
    in: {text: texts, log: log, stage: {default: start}}
    out: [text]
  inner:
    run: chain.cwl
    scatter: texts
    in: {texts: {source: start/text, valueFrom: '$([self, self + self])'}, log: log}
    out: [first, third]
  last:
    run: tool.cwl
    scatter: text
    in: {text: {source: inner/first, valueFrom: '$(self[1])'}, log: log, stage: {default: last}}
    out: [text]
""",
    )
    made, _ = run(
        chain / "outer.cwl", "--mapping", "simple", job(chain, ["a", "b"]), outdir=chain / "out"
    )
    assert made == {"texts": ["aa", "bb"], "third": [["a", "aa"], ["b", "bb"]]}
    order = events(chain)
    assert order.index("last aa") < order.index("start b")


@pytest.mark.parametrize("failing", [False, True])
def test_elements_pass_through_a_subworkflow_that_is_not_scattered(
    failing: bool, chain: Path
) -> None:
    write(
        chain,
        around_cwl=HEAD
        + """
inputs: {texts: 'string[]', log: string}
outputs:
  texts: {type: Any, outputSource: last/text}
  third: {type: Any, outputSource: inner/third}
steps:
  start:
    run: tool.cwl
    scatter: text
    in: {text: texts, log: log, stage: {default: start}}
    out: [text]
  inner: {run: chain.cwl, in: {texts: start/text, log: log}, out: [third]}
  last:
    run: tool.cwl
    scatter: text
    in: {text: inner/third, log: log, stage: {default: last}}
    out: [text]
""",
    )
    texts = ["a", "bad" if failing else "b", "c"]
    made, _ = run(
        chain / "around.cwl",
        *("--mapping", "simple", "--on-error", "continue"),
        job(chain, texts),
        outdir=chain / "out",
        code=int(failing),
    )
    expected = ["a", None if failing else "b", "c"]
    assert made == {"texts": expected, "third": expected}
    order = events(chain)
    assert order.index("last a") < order.index(f"start {texts[1]}")


def test_many_jobs_come_out_in_order(chain: Path) -> None:
    lines = [
        {"texts": [f"j{number}a", f"j{number}b"], "log": str(chain / "log")} for number in range(5)
    ]
    jobs = chain / "jobs.jsonl"
    jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text, _ = run(chain / "chain.cwl", "-n", "2", "--jobs", jobs, outdir=chain / "out")
    made = [json.loads(line) for line in text.splitlines()]
    assert [line["third"] for line in made] == [line["texts"] for line in lines]


def test_the_files_of_each_job_have_a_folder(tmp_path: Path) -> None:
    write(
        tmp_path,
        tool_cwl="""
cwlVersion: v1.2
class: CommandLineTool
inputs: {text: {type: string, inputBinding: {}}, data: File}
outputs: {made: {type: stdout}}
baseCommand: echo
stdout: made.txt
""",
        data_txt="x",
    )
    jobs = tmp_path / "jobs.jsonl"
    data = {"class": "File", "path": "data.txt"}
    jobs.write_text("".join(json.dumps({"text": t, "data": data}) + "\n" for t in ("one", "two")))
    out = tmp_path / "out"
    text, _ = run(tmp_path / "tool.cwl", "--jobs", jobs, outdir=out)
    assert [json.loads(line)["made"]["path"] for line in text.splitlines()] == [
        str(out / "1" / "made.txt"),
        str(out / "2" / "made.txt"),
    ]
    assert (out / "2" / "made.txt").read_text() == "two\n"


@pytest.mark.parametrize(("source", "shown"), [("first/text", "process 0"), ("text", "pool")])
def test_what_cannot_run_side_by_side_runs_in_one_process(
    source: str, shown: str, tmp_path: Path
) -> None:
    write(
        tmp_path,
        tool_cwl=LOGGING_TOOL,
        two_cwl=HEAD
        + f"""
inputs: {{text: string, log: string}}
outputs: {{text: {{type: string, outputSource: second/text}}}}
steps:
  first: {{run: tool.cwl, in: {{text: text, log: log, stage: {{default: one}}}}, out: [text]}}
  second: {{run: tool.cwl, in: {{text: {source}, log: log, stage: {{default: two}}}}, out: [text]}}
""",
    )
    order = tmp_path / "job.json"
    order.write_text(json.dumps({"text": "x", "log": str(tmp_path / "log")}))
    _, told = run(tmp_path / "two.cwl", *("--verbose", "-n", "2"), order, outdir=tmp_path / "out")
    (line,) = [line for line in told.splitlines() if re.search(r"\bfirst\[0\]", line)]
    assert line.startswith(shown), told
