#!/usr/bin/env bash
# Toil on this machine:
#
#     toil-single.sh DOCUMENT JOB [OUTDIR]
#
# Toil calls its own `_toil_worker`, so its commands must be on the PATH, and `dispel4py`, too.
set -euo pipefail
document="$1" job="$2" outdir="${3:-results}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

options=(
    # CHANGE: the cores that Toil may use. A step that asks for more cores than these fails.
    --maxCores "$(nproc)"
    # CHANGE: leave it out if docker is installed.
    --no-container
    # The state of the run. CHANGE: a permanent folder, and --restart, to continue a run that failed.
    --jobStore "$scratch/jobs"
    --workDir "$scratch"
    --coordinationDir "$scratch"
)
toil-cwl-runner "${options[@]}" --outdir "$outdir" "$document" "$job"
