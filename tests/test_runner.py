"""``d4pcwl-runner`` against cwltool: equal output objects for what CWL offers between steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runner_kit import run, without_places, write

SAY = """
cwlVersion: v1.2
class: CommandLineTool
baseCommand: [printf, '%s%s']
inputs:
  a: {type: string, inputBinding: {position: 1}}
  b: {type: string, default: '-', inputBinding: {position: 2}}
outputs:
  text:
    type: string
    outputBinding: {glob: out, loadContents: true, outputEval: '$(self[0].contents)'}
  file: {type: File, outputBinding: {glob: out}}
stdout: out
"""

HEAD = """
cwlVersion: v1.2
class: Workflow
requirements:
  ScatterFeatureRequirement: {}
  SubworkflowFeatureRequirement: {}
  MultipleInputFeatureRequirement: {}
  StepInputExpressionRequirement: {}
  InlineJavascriptRequirement: {}
"""

SCATTERS = (
    HEAD
    + """
inputs: {xs: 'string[]', ys: 'string[]', none: 'string[]'}
outputs:
  one: {type: Any, outputSource: one/text}
  then: {type: Any, outputSource: then/text}
  files: {type: Any, outputSource: then/file}
  dot: {type: Any, outputSource: dot/text}
  flat: {type: Any, outputSource: flat/text}
  nested: {type: Any, outputSource: nested/text}
  rows: {type: Any, outputSource: rows/lengths}
  empty: {type: Any, outputSource: empty/text}
  after_empty: {type: Any, outputSource: after_empty/text}
  empty_flat: {type: Any, outputSource: empty_flat/text}
  empty_inner: {type: Any, outputSource: empty_inner/text}
  empty_outer: {type: Any, outputSource: empty_outer/text}
  first: {type: Any, outputSource: first/text}
  flattened: {type: Any, outputSource: flattened/lengths}
  by_element: {type: Any, outputSource: by_element/text}
  expression: {type: Any, outputSource: expression/lengths}
steps:
  one: {run: say.cwl, scatter: a, in: {a: xs}, out: [text, file]}
  then: {run: say.cwl, scatter: a, in: {a: one/text, b: {default: '!'}}, out: [text, file]}
  dot:
    run: say.cwl
    scatter: [b, a]
    scatterMethod: dotproduct
    in: {a: one/text, b: then/text}
    out: [text]
  flat:
    run: say.cwl
    scatter: [a, b]
    scatterMethod: flat_crossproduct
    in: {a: one/text, b: ys}
    out: [text]
  nested:
    run: say.cwl
    scatter: [b, a]
    scatterMethod: nested_crossproduct
    in: {a: one/text, b: ys}
    out: [text]
  rows: {run: lengths.cwl, scatter: list, in: {list: nested/text}, out: [lengths]}
  empty: {run: say.cwl, scatter: a, in: {a: none}, out: [text]}
  after_empty: {run: say.cwl, scatter: a, in: {a: empty/text}, out: [text]}
  empty_flat:
    run: say.cwl
    scatter: [a, b]
    scatterMethod: flat_crossproduct
    in: {a: none, b: xs}
    out: [text]
  empty_inner:
    run: say.cwl
    scatter: [a, b]
    scatterMethod: nested_crossproduct
    in: {a: xs, b: none}
    out: [text]
  empty_outer:
    run: say.cwl
    scatter: [a, b]
    scatterMethod: nested_crossproduct
    in: {a: none, b: xs}
    out: [text]
  first: {run: say.cwl, in: {a: {source: one/text, valueFrom: '$(self[0])'}}, out: [text]}
  flattened:
    run: lengths.cwl
    in: {list: {source: [one/text, first/text, none], linkMerge: merge_flattened}}
    out: [lengths]
  by_element:
    run: say.cwl
    scatter: a
    in: {a: {source: one/text, valueFrom: '<$(self)>'}, b: {valueFrom: $(inputs.a)}}
    out: [text]
  expression: {run: lengths.cwl, in: {list: then/text}, out: [lengths]}
"""
)

LENGTHS = """
cwlVersion: v1.2
class: ExpressionTool
requirements: {InlineJavascriptRequirement: {}}
inputs: {list: {type: {type: array, items: string}}}
outputs: {lengths: {type: Any}}
expression: '${return {"lengths": inputs.list.map(function (s) {return s + s.length;})};}'
"""

CONDITIONS = (
    HEAD
    + """
inputs:
  go: boolean
  text: string
  texts: {type: 'string[]', default: [p, q, r]}
  absent: string?
outputs:
  yes: {type: Any, outputSource: yes/text}
  no: {type: Any, outputSource: no/text}
  some: {type: Any, outputSource: some/text}
  picked: {type: Any, outputSource: [no/text, yes/text], pickValue: first_non_null}
  only: {type: Any, outputSource: [no/text, yes/text], pickValue: the_only_non_null}
  all: {type: Any, outputSource: some/text, pickValue: all_non_null}
  pair: {type: Any, outputSource: [no/text, yes/text]}
  defaulted: {type: Any, outputSource: defaulted/text}
  through: {type: Any, outputSource: text}
  hidden: {type: Any, outputSource: hidden/text}
  inner: {type: Any, outputSource: deep/texts}
  skipped: {type: Any, outputSource: skipped/texts}
  alone: {type: Any, outputSource: alone/text}
steps:
  yes: {run: say.cwl, when: $(inputs.go), in: {a: text, go: go}, out: [text]}
  no: {run: say.cwl, when: $(!inputs.go), in: {a: text, go: go}, out: [text]}
  some:
    run: say.cwl
    scatter: a
    when: $(inputs.a != "q")
    in: {a: texts}
    out: [text]
  defaulted: {run: say.cwl, in: {a: {source: no/text, default: fallback}, b: absent}, out: [text]}
  hidden:
    run: say.cwl
    in:
      a: {source: [no/text, yes/text], pickValue: all_non_null, valueFrom: '$(self[0])'}
    out: [text]
  deep: {run: inner.cwl, scatter: tail, in: {texts: some/text, tail: texts}, out: [texts]}
  skipped:
    run: inner.cwl
    when: $(inputs.go == false)
    in: {texts: some/text, tail: text, go: go}
    out: [texts]
  alone: {run: say.cwl, in: {a: {default: constant}}, out: [text]}
"""
)

INNER = (
    HEAD
    + """
inputs: {texts: {type: {type: array, items: [string, 'null']}}, tail: string}
outputs: {texts: {type: Any, outputSource: mark/text}, count: {type: Any, outputSource: again/text}}
steps:
  mark: {run: say.cwl, when: $(inputs.a != null), scatter: a, in: {a: texts, b: tail}, out: [text]}
  again: {run: say.cwl, in: {a: {source: mark/text, valueFrom: "$(String(self))"}}, out: [text]}
"""
)

FILES = (
    HEAD
    + """
inputs:
  data: {type: File, secondaryFiles: [.idx, '^.note?']}
  folder: {type: Directory, loadListing: shallow_listing}
  kind: {type: {type: record, fields: {name: string, how: {type: {type: enum, symbols: [a, b]}}}}}
outputs:
  copied: {type: File, secondaryFiles: [.idx], outputSource: copied/copy}
  same: {type: File, outputSource: data}
  tree: {type: Directory, outputSource: tree/folder}
  names: {type: Any, outputSource: tree/names}
  contents: {type: Any, outputSource: contents/text}
  record: {type: Any, outputSource: record/text}
  each: {type: Any, outputSource: each/copy}
steps:
  copied: {run: copy.cwl, in: {data: data}, out: [copy]}
  tree: {run: tree.cwl, in: {folder: folder, data: copied/copy}, out: [folder, names]}
  contents:
    run: say.cwl
    in: {a: {source: copied/copy, loadContents: true, valueFrom: $(self.contents)}}
    out: [text]
  record: {run: say.cwl, in: {a: {source: kind, valueFrom: '$(self.name + self.how)'}}, out: [text]}
  each:
    run: copy.cwl
    scatter: data
    in: {data: {source: [copied/copy, data], linkMerge: merge_nested}}
    out: [copy]
"""
)

COPY = """
cwlVersion: v1.2
class: CommandLineTool
requirements:
  InitialWorkDirRequirement: {listing: ['$(inputs.data)']}
  InlineJavascriptRequirement: {}
inputs: {data: {type: File, secondaryFiles: [.idx]}}
outputs:
  copy: {type: File, secondaryFiles: [.idx], outputBinding: {glob: $(inputs.data.basename)}}
baseCommand: 'true'
"""

TREE = """
cwlVersion: v1.2
class: CommandLineTool
inputs:
  folder: {type: Directory, inputBinding: {position: 1}}
  data: {type: File, inputBinding: {position: 2}}
outputs:
  folder: {type: Directory, outputBinding: {glob: made}}
  names: {type: File, outputBinding: {glob: names}}
baseCommand: [sh, -c, 'mkdir -p made/sub; cp "$0"/* made; cp "$1" made/sub; ls "$0" > names']
"""

LISTINGS = (
    HEAD
    + """
inputs: {texts: 'string[]', folder: Directory, folders: 'Directory[]'}
outputs: {texts: {type: Any, outputSource: inner/texts}}
steps:
  inner: {run: listed.cwl, in: {texts: texts, folder: folder, folders: folders}, out: [texts]}
"""
)

LISTED = (
    HEAD
    + """\
  LoadListingRequirement: {loadListing: shallow_listing}
inputs: {texts: 'string[]', folder: Directory, folders: 'Directory[]'}
outputs: {texts: {type: Any, outputSource: say/text}}
steps:
  say:
    run: say.cwl
    scatter: a
    in:
      a: texts
      folder: folder
      folders: folders
      b: {valueFrom: '$(String(inputs.folder.listing.length + inputs.folders[0].listing.length))'}
    out: [text]
"""
)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    return with_documents(tmp_path)


def with_documents(folder: Path, **more: str) -> Path:
    """A folder with the documents, more of them, and what their jobs refer to."""
    (folder / "folder").mkdir()
    for name in ("one.txt", "two.txt"):
        (folder / "folder" / name).write_text(name)
    return write(
        folder,
        say_cwl=SAY,
        lengths_cwl=LENGTHS,
        inner_cwl=INNER,
        copy_cwl=COPY,
        tree_cwl=TREE,
        data_txt="some data",
        scatters_cwl=SCATTERS,
        conditions_cwl=CONDITIONS,
        files_cwl=FILES,
        listings_cwl=LISTINGS,
        listed_cwl=LISTED,
        **{"data.txt_idx": "an index", "data_note": "a note"},
        **more,
    )


JOBS: dict[str, dict[str, Any]] = {
    "scatters": {"xs": ["a", "bb", "c"], "ys": ["x", "yy"], "none": []},
    "conditions": {"go": True, "text": "hello"},
    "files": {
        "data": {"class": "File", "path": "data.txt"},
        "folder": {"class": "Directory", "path": "folder"},
        "kind": {"name": "n", "how": "b"},
    },
    "listings": {
        "texts": ["a", "b"],
        "folder": {"class": "Directory", "path": "folder"},
        "folders": [{"class": "Directory", "path": "folder"}],
    },
}


@pytest.mark.parametrize("name", JOBS)
def test_outputs_are_those_of_cwltool(name: str, documents: Path) -> None:
    job = documents / "job.json"
    job.write_text(json.dumps(JOBS[name]))
    document = documents / f"{name}.cwl"
    ours, _ = run(document, job, outdir=documents / "ours")
    theirs, _ = run(document, job, outdir=documents / "theirs", command="cwltool")
    assert without_places(ours) == without_places(theirs)


@pytest.mark.parametrize(
    "kind", ["simple", "multi", "zmq_multi", "dyn_multi", "dyn_auto_multi", "redis", "dyn_redis"]
)
def test_outputs_do_not_depend_on_the_mapping(kind: str, documents: Path) -> None:
    job = documents / "job.json"
    job.write_text(json.dumps(JOBS["scatters"]))
    document = documents / "scatters.cwl"
    made, _ = run(document, "--mapping", kind, "-n", "3", job, outdir=documents / "out")
    assert made["flat"] == ["a-x", "a-yy", "bb-x", "bb-yy", "c-x", "c-yy"]
    assert made["nested"] == [["a-x", "bb-x", "c-x"], ["a-yy", "bb-yy", "c-yy"]]
    assert made["rows"] == [["a-x3", "bb-x4", "c-x3"], ["a-yy4", "bb-yy5", "c-yy4"]]
    assert made["empty_inner"] == [[], [], []]
    assert made["after_empty"] == made["empty_outer"] == []
    assert made["expression"] == ["a-!3", "bb-!4", "c-!3"]
    places = [Path(file["path"]) for file in made["files"]]
    assert [place.read_text() for place in places] == ["a-!", "bb-!", "c-!"]
    assert {place.parent for place in places} == {documents / "out"}
