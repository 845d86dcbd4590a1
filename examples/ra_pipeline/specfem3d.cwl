#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Simulate an earthquake with SPECFEM3D Cartesian
doc: |
  Runs the three programs of SPECFEM3D Cartesian 4.1 one after the other: xmeshfem3D makes the mesh,
  xgenerate_databases puts the model on it, and xspecfem3D lets the waves run. They read DATA/, and
  write into OUTPUT_FILES/ of the working directory. Without a container, the programs and mpirun
  must be found on the PATH.

  The mesh is for a fixed number of processes. It is NPROC in DATA/Par_file; cores must be the same.

requirements:
  InitialWorkDirRequirement:
    listing:
      # SPECFEM3D writes the list of receivers that are inside the mesh beside the others.
      - entryname: DATA
        entry: $(inputs.data)
        writable: true
      - entryname: specfem3d.sh
        entry: |
          set -e
          mkdir -p OUTPUT_FILES DATABASES_MPI
          ranks=`sed -n 's/^NPROC *= *//p' DATA/Par_file`
          for program in xmeshfem3D xgenerate_databases xspecfem3D; do
              mpirun -np "$ranks" "$program"
          done
  ResourceRequirement:
    coresMin: $(inputs.cores)
hints:
  DockerRequirement:
    dockerPull: docker.io/openeuler/specfem3d:4.1.1-oe2403sp3
  SoftwareRequirement:
    packages:
      specfem3d:
        version: [4.1.1]

baseCommand: [sh, specfem3d.sh]

inputs:
  data:
    type: Directory
    label: The input files of SPECFEM3D
  cores:
    type: long
    label: How many processes simulate
    default: 4

outputs:
  seismograms:
    type: Directory
    label: What SPECFEM3D wrote, with a velocity seismogram for each component
    outputBinding:
      glob: OUTPUT_FILES
