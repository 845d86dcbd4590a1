#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Run a dispel4py graph with MPI
doc: |
  A starting point: copy it and change what is marked CHANGE. Without changes, it counts the words of
  a text with examples/word_count/word_count.py. cwltool puts the launcher of mpi-config.yml before the
  command; another engine knows nothing of cwltool:MPIRequirement and refuses the document. There leave
  the requirement out and add `-n` and the number of processes: dispel4py then calls mpiexec itself.

$namespaces:
  cwltool: http://commonwl.org/cwltool#

requirements:
  # CHANGE: one more entry, and one more input, for each module that the script imports from its own
  # folder and for each file that it opens by name.
  InitialWorkDirRequirement:
    listing:
      - entryname: word_count.py
        entry: $(inputs.script)
  ResourceRequirement:
    coresMin: $(inputs.processes)
  cwltool:MPIRequirement:
    processes: $(inputs.processes)

inputs:
  script:
    type: File
    label: The dispel4py script
  # CHANGE: the inputs of the roots of the graph.
  text:
    type: File
    label: The text whose words are counted
  processes:
    type: int
    label: How many processes there are
    default: 2

baseCommand: [dispel4py, mpi]
arguments:
  - word_count.py
  # CHANGE: for each root of the graph, its name and a list of input objects.
  - prefix: -d
    valueFrom: '{"read": [{"input": "$(inputs.text.path)"}]}'
  - prefix: --results
    valueFrom: results.jsonl

stdout: printed.txt

outputs:
  results:
    type: File
    format: https://w3id.org/d4pcwl#json-lines
    outputBinding:
      glob: results.jsonl
  # CHANGE: one output for each file or folder that the PEs write.
  printed:
    type: stdout
    label: What the PEs print
