#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Run a dispel4py graph in processes that share a queue of work
doc: |
  A starting point: copy it and change what is marked CHANGE. Without changes, it counts the words of
  a text with examples/word_count/word_count.py.

# Prefixes of formats, so that a step can only be connected to one with the same format.

requirements:
  # The script is in the working folder, so that it finds the files beside it under the names that
  # it uses. CHANGE: one more entry, and one more input, for each module that the script imports from
  # its own folder and for each file that it opens by name.
  InitialWorkDirRequirement:
    listing:
      - entryname: word_count.py
        entry: $(inputs.script)
  # The step asks the engine for this many cores; the engine then says how many it has.
  ResourceRequirement:
    coresMin: $(inputs.processes)

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
    label: How many processes it may use
    doc: Any number works. The results do not depend on it, but their order may.
    default: 2

baseCommand: [dispel4py, dyn_multi]
arguments:
  - word_count.py
  - prefix: -n
    valueFrom: $(runtime.cores)
  # CHANGE: for each root of the graph, its name and a list of input objects. A graph whose roots take
  # nothing needs no -d; `prefix: -i` gives the number of iterations.
  - prefix: -d
    valueFrom: '{"read": [{"input": "$(inputs.text.path)"}]}'
  # Results go to a separate file, because PEs print to standard output, too.
  - prefix: --results
    valueFrom: results.jsonl

stdout: printed.txt

outputs:
  # The items of unconnected outputs. Leave it and --results out if the graph has none.
  results:
    type: File
    format: https://w3id.org/d4pcwl#json-lines
    outputBinding:
      glob: results.jsonl
  # CHANGE: one output for each file or folder that the PEs write.
  printed:
    type: stdout
    label: What the PEs print

# CHANGE: where the engine runs containers, an image with Python, d4pcwl and what the script imports.
# hints:
#   DockerRequirement:
#     dockerPull: example.org/my/image:1.0
