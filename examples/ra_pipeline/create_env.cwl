#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Make the folder of an assessment
doc: |
  Makes misfit_data/ with the event and the processing chains in it. Its subfolders are made by the
  steps that fill them: not every engine keeps an empty folder.

  Whatever the files are called, the pipeline finds them as events_info.xml and processing.json.

requirements:
  InitialWorkDirRequirement:
    listing:
      - entryname: events_info.xml
        entry: $(inputs.event)
      - entryname: processing.json
        entry: $(inputs.processing)

# Makes the folder and copies the files into it in one go.
baseCommand: [install, -D, -m, "644", -t, misfit_data]
arguments:
  - position: 1
    valueFrom: events_info.xml
  - position: 1
    valueFrom: processing.json

inputs:
  event:
    type: File
    label: The event, QuakeML
  processing:
    type: File
    label: The processing chains of data and synthetics, JSON
  mesh:
    type: File?
    label: The mesh of the simulation, kept beside the rest under its own name
    inputBinding:
      position: 2

outputs:
  misfit_data:
    type: Directory
    outputBinding:
      glob: misfit_data
