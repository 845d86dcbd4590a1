#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: Workflow
label: Rapid assessment of an earthquake
doc: |
  From an event, its waveforms and the synthetics of a simulation to ground motion parameters, maps and
  a report. create_env.cwl is written by hand; the tools of the other three steps are made from the
  dispel4py scripts of the same names.

requirements:
  SubworkflowFeatureRequirement: {}
  MultipleInputFeatureRequirement: {}

inputs:
  event:
    type: File
    label: The event, QuakeML
  processing:
    type: File
    label: The processing chains of data and synthetics, JSON
  mesh:
    type: File?
    label: The mesh of the simulation, JSON; a simulation needs it
  with_specfem3d:
    type: boolean
    label: Whether SPECFEM3D makes the synthetics, which the source has otherwise
    default: false
  with_point_source:
    type: boolean
    label: Whether the synthetics are those of a point source in homogeneous ground
    default: false
  source:
    type: Directory?
    label: Where the files come from that are not downloaded, with observed/, stations/ and synth/
  request:
    type: File?
    label: The waveforms and responses to download from FDSN web services, JSON
  providers:
    type: string[]?
    label: URLs of FDSN web services, in place of those in the request

steps:
  create_env:
    run: create_env.cwl
    in:
      event: event
      processing: processing
      mesh: mesh
      request: request
    out: [misfit_data]

  download_data:
    run: download.cwl
    in:
      source: source
      providers: providers
      misfit_data: create_env/misfit_data
    out: [misfit_data_out]

  simulate:
    run: simulate.cwl
    when: $(inputs.wanted)
    in:
      wanted: with_specfem3d
      misfit_data: download_data/misfit_data_out
      mesh: mesh
    out: [misfit_data_out]

  approximate:
    run: point_source.cwl
    when: $(inputs.wanted)
    in:
      wanted: with_point_source
      misfit_data: download_data/misfit_data_out
    out: [misfit_data_out]

  preprocess_data:
    run: preprocess.cwl
    in:
      misfit_data:
        source:
          - simulate/misfit_data_out
          - approximate/misfit_data_out
          - download_data/misfit_data_out
        pickValue: first_non_null
    out: [misfit_data_out]

  rapid_assessment:
    run: rapid_assessment.cwl
    in:
      misfit_data: preprocess_data/misfit_data_out
    out: [pgm_data]

outputs:
  misfit_data:
    type: Directory
    label: Raw and processed waveforms
    outputSource: preprocess_data/misfit_data_out
  pgm_data:
    type: Directory
    label: pgm.json, pgm.geojson, maps and report.html
    outputSource: rapid_assessment/pgm_data
