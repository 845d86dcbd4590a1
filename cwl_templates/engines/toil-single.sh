#!/usr/bin/env bash
# Toil on this machine:
#
#     toil-single.sh DOCUMENT JOB [OUTDIR]
#
# Toil calls its own `_toil_worker`, so its commands have to be on the PATH, and `dispel4py` too.
set -euo pipefail
document="$1" job="$2" outdir="${3:-results}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

options=(
    # CHANGE: what Toil may use of this machine. A step that asks for more cores than there are fails.
    --maxCores "$(nproc)"
    # CHANGE: leave it out where docker is there.
    --no-container
    # The state of the run. CHANGE: a folder that stays, and --restart, to take up a run that failed.
    --jobStore "$scratch/jobs"
    --workDir "$scratch"
    --coordinationDir "$scratch"
)
toil-cwl-runner "${options[@]}" --outdir "$outdir" "$document" "$job"
