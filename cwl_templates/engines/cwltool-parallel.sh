#!/usr/bin/env bash
# cwltool on this machine, steps that do not wait for each other at the same time:
#
#     cwltool-parallel.sh DOCUMENT JOB [OUTDIR]
set -euo pipefail
document="$1" job="$2" outdir="${3:-results}"

# CHANGE: leave --no-container out where docker is there; with podman or singularity put --podman or
# --singularity in its place.
options=(--parallel --no-container)

exec cwltool "${options[@]}" --outdir "$outdir" "$document" "$job"
