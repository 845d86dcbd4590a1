"""A process that runs the soaked graph when it is told to, and says how that went.

`python soak_driver.py MAPPING PROCESSES [REDIS_URL]`: each line of its input starts a run; "begin"
and, at the end, a JSON object are what it answers.
"""

import gc
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from d4pcwl.errors import D4pcwlError
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping, find_mapping, run_job
from d4pcwl.runtime.options import Options
from d4pcwl.runtime.results import Results
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.inputs import root_inputs

sys.path.insert(0, str(Path(__file__).parent / "pipelines"))

from soaked import make_graph


def _held() -> tuple[set[str], set[str], set[str]]:
    """Descriptors, threads and child processes of this process."""
    names = os.listdir("/proc/self/fd")
    fds = set()
    for name in names:
        try:
            fds.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:  # that of the listing
            continue
    threads = {thread.name for thread in threading.enumerate()}
    children: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        children.update((task / "children").read_text().split())
    return fds, threads, children


def one_run(mapping: Mapping[Any], processes: int, options: Options) -> dict[str, Any]:
    """Run the graph; the items that arrived, the error, and what it left in this process."""
    flat = flatten(make_graph())
    results = Results({pe.id: pe.name for pe in flat.pes})
    job = Job(flat, root_inputs(flat, None), results, processes=processes)
    before = _held()
    error = None
    try:
        run_job(mapping, job, options)
    except D4pcwlError as raised:
        error = f"{type(raised).__name__}: {raised}"
    gc.collect()  # what only waits for the collector is not held
    left = [sorted(now - then) for now, then in zip(_held(), before, strict=True)]
    return {
        "error": error,
        "seen": results["Branch"].get("seen", []),
        "collected": results["Collect"].get("output", []),
        "left": [one for kind in left for one in kind],
    }


def main() -> None:
    mapping, processes, *url = sys.argv[1:]
    chosen = find_mapping(mapping)
    options = chosen.options.of({"redis_url": url[0]} if url else None, mapping)
    for _ in sys.stdin:
        sys.stdout.write("begin\n")
        sys.stdout.flush()
        sys.stdout.write(json.dumps(one_run(chosen, int(processes), options)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
