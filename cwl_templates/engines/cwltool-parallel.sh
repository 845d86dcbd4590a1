#!/usr/bin/env bash
# cwltool on this machine; it runs steps at the same time if they do not depend on each other:
#
#     cwltool-parallel.sh DOCUMENT JOB [OUTDIR]
set -euo pipefail
document="$1" job="$2" outdir="${3:-results}"

# CHANGE: leave out --no-container if docker is installed; for podman or singularity, replace it by
# --podman or --singularity.
options=(--parallel --no-container)

exec cwltool "${options[@]}" --outdir "$outdir" "$document" "$job"
