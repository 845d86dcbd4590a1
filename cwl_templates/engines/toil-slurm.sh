#!/usr/bin/env bash
# Toil with steps as jobs of a slurm queue, on a machine where sbatch is:
#
#     toil-slurm.sh DOCUMENT JOB [OUTDIR]
#
# Jobs have the environment in which Toil was started: its commands and `dispel4py` have to be on the
# PATH, on every node under the same path.
set -euo pipefail
document="$1" job="$2" outdir="${3:-results}"

# CHANGE: a folder that all nodes share.
shared="$(mktemp -d -p "${SHARED:-$PWD}" toil.XXXXXX)"
trap 'rm -rf "$shared"' EXIT

options=(
    --batchSystem slurm
    # CHANGE: the queue, the most time that a job may take, and what else sbatch is to be told.
    --slurmPartition main
    --slurmTime 00:10:00
    --slurmArgs=--nodes=1
    # What a job gets that does not say what it needs.
    --defaultMemory 500MiB
    # CHANGE: leave it out where the nodes have containers.
    --no-container
    # How often it asks for its jobs, in seconds.
    --statePollingWait 2
    --jobStore "$shared/jobs"
    --workDir "$shared"
    --coordinationDir "$shared"
    --batchLogsDir "$shared"
)
toil-cwl-runner "${options[@]}" --outdir "$outdir" "$document" "$job"
