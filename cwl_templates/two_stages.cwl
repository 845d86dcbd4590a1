#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: Workflow
label: Two stages of one dispel4py graph, connected by a stream file
doc: |
  A starting point: copy it and change what is marked CHANGE. Without changes, the first step runs the
  PEs read and split of examples/word_count/word_count.py, and the second step runs the PE count. The
  items that split writes are in a stream file, which the engine copies from step to step.
  `d4p2cwl SCRIPT --cut PE.port` writes such a document by itself.

inputs:
  script:
    type: File
    label: The dispel4py script; both steps run it
  text:
    type: File
    label: The text whose words are counted

outputs:
  results:
    type: File
    format: https://w3id.org/d4pcwl#json-lines
    outputSource: count/results

steps:
  split:
    in:
      script: script
      text: text
    out: [words]
    run:
      class: CommandLineTool
      requirements:
        InitialWorkDirRequirement:
          listing:
            - entryname: word_count.py
              entry: $(inputs.script)
      inputs:
        script: File
        text: File
      baseCommand: [dispel4py, simple]
      arguments:
        - word_count.py
        # CHANGE: the names of the PEs of this stage; `dispel4py simple SCRIPT -v` shows them.
        - prefix: --stage
          valueFrom: read,split
        - prefix: -d
          valueFrom: '{"read": [{"input": "$(inputs.text.path)"}]}'
        # CHANGE: one --to for each output whose items another stage takes.
        - prefix: --to
          valueFrom: split.output=words.d4ps
      outputs:
        words:
          type: File
          format: https://w3id.org/d4pcwl#stream-file
          # It is written and read from front to back, so an engine may pass it through a pipe.
          streamable: true
          outputBinding:
            glob: words.d4ps

  count:
    in:
      script: script
      words: split/words
    out: [results]
    run:
      class: CommandLineTool
      requirements:
        InitialWorkDirRequirement:
          listing:
            - entryname: word_count.py
              entry: $(inputs.script)
        # CHANGE: each step may have its own mapping, cores, and image.
        ResourceRequirement:
          coresMin: 2
      inputs:
        script: File
        words:
          type: File
          format: https://w3id.org/d4pcwl#stream-file
          streamable: true
      baseCommand: [dispel4py, multi]
      arguments:
        - word_count.py
        - prefix: -n
          valueFrom: $(runtime.cores)
        - prefix: --stage
          valueFrom: count
        # CHANGE: one --from for each output of another stage whose items this one takes. It has the
        # name of the output from which the items come.
        - prefix: --from
          valueFrom: split.output=$(inputs.words.path)
        - prefix: --results
          valueFrom: results.jsonl
      outputs:
        results:
          type: File
          format: https://w3id.org/d4pcwl#json-lines
          outputBinding:
            glob: results.jsonl
