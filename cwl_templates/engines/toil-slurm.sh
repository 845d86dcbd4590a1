#!/usr/bin/env bash
# Toil with steps as jobs of a slurm queue, on a machine where sbatch is:
#
#     toil-slurm.sh DOCUMENT JOB [OUTDIR]
#
# Jobs have the environment in which Toil was started: its commands and `dispel4py` must be on the
# PATH, with the same path on every node.
set -euo pipefail
document="$1" job="$2" outdir="${3:-results}"

# CHANGE: a folder that all nodes share.
shared="$(mktemp -d -p "${SHARED:-$PWD}" toil.XXXXXX)"
trap 'rm -rf "$shared"' EXIT

options=(
    --batchSystem slurm
    # CHANGE: the queue, the longest time of a job, and other options of sbatch.
    --slurmPartition main
    --slurmTime 00:10:00
    --slurmArgs=--nodes=1
    # The resources of a job that does not ask for any.
    --defaultMemory 500MiB
    # CHANGE: leave it out if the nodes have containers.
    --no-container
    # How often it checks its jobs, in seconds.
    --statePollingWait 2
    --jobStore "$shared/jobs"
    --workDir "$shared"
    --coordinationDir "$shared"
    --batchLogsDir "$shared"
)
toil-cwl-runner "${options[@]}" --outdir "$outdir" "$document" "$job"
