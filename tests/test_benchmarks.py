"""The harness of the benchmarks, its pure parts, and the soak with real kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the benchmarks are not here")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import bench.cases
    import bench.harness
    import bench.processes
    import bench.soak
    import bench.table

    return bench


def row(bench: Any, ours: list[float], upstream: list[float], unit: str = "items/s") -> Any:
    side = bench.table.Side
    return bench.table.Row("a case", "multi", unit, side(ours), side(upstream), limit="pipes")


def test_ratio_is_of_medians(bench: Any) -> None:
    assert row(bench, [10, 30, 1000], [2, 3, 4]).ratio == 10


def test_ratio_of_times_says_how_many_times_faster(bench: Any) -> None:
    assert row(bench, [0.1], [0.5], "s").ratio == pytest.approx(5)


def test_no_ratio_where_one_has_no_right_answer(bench: Any) -> None:
    assert row(bench, [10], []).ratio is None
    assert row(bench, [], [10]).ratio is None


@pytest.mark.parametrize(
    ("kind", "value", "met"),
    [
        ("ratio", 10, True),
        ("ratio", 10.1, False),
        ("rate", 30, True),
        ("rate", 31, False),
        ("share", 0.3, True),
        ("share", 0.31, False),
        ("growth", 1.5, True),
        ("growth", 1.4, False),
    ],
)
def test_targets(bench: Any, kind: str, value: float, met: bool) -> None:
    target = bench.cases.Target(kind, value)
    limits = {"pipes": bench.table.Side([100])}
    judged = bench.table.judge(row(bench, [30], [3]), target, limits, shorter=20)
    assert judged[1] is met


def test_target_that_cannot_be_judged(bench: Any) -> None:
    target = bench.cases.Target("ratio", 10)
    assert bench.table.judge(row(bench, [30], []), target, {})[1] is None
    failed = row(bench, [], [3])
    failed.ours.faults.append("exit code 1")
    assert bench.table.judge(failed, target, {})[1] is False


def test_table_shows_faults_ratios_and_verdicts(bench: Any) -> None:
    good, bad = row(bench, [1_500_000], [50_000]), row(bench, [1000], [])
    good.targets = bad.targets = (bench.cases.Target("ratio", 40),)
    bad.upstream.faults += ["exit code 0, 9 of 10 lost"] * 2
    limits = {"pipes": bench.table.Side([3_000_000])}
    lines = bench.table.lines([good, bad], limits)
    assert lines[0][3:] == ["1.50 M", "50 k", "30x", "≥ 40x: MISSED", "50% of pipes"]
    assert lines[1][4:7] == [
        "exit code 0, 9 of 10 lost",
        "upstream fails",
        "≥ 40x: not comparable",
    ]
    text = bench.table.rendered(lines)
    assert len({len(line) for line in text.splitlines()}) == 1
    data = bench.table.as_json([good, bad], limits, {})
    assert json.loads(json.dumps(data))["rows"][0]["ratio"] == 30


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "s", "—"),
        (0.1234, "s", "0.123"),
        (12.34, "s", "12.34"),
        (2_345_678, "items/s", "2.35 M"),
        (23_456, "items/s", "23 k"),
        (2345.6, "MB/s", "2,346"),
        (12.345, "MB", "12.3"),
    ],
)
def test_figures(bench: Any, value: float | None, unit: str, shown: str) -> None:
    assert bench.table.figure(value, unit) == shown


def test_choice_of_cases_and_mappings(bench: Any) -> None:
    chosen = bench.cases.selected("ints,4 PEs", "simple,redis")
    assert {case.script for case, _ in chosen} == {"ints"}
    assert chosen[0][1] == ["simple", "redis"]
    with pytest.raises(ValueError, match="no mapping is called 'simpel'"):
        bench.cases.selected(None, "simpel")
    with pytest.raises(ValueError, match="no case is called 'inst'"):
        bench.cases.selected("inst", None)


def test_every_target_has_a_case_to_measure(bench: Any) -> None:
    for case in bench.cases.CASES:
        assert set(case.targets) <= set(case.items)
        assert set(case.limits.values()) <= {*bench.cases.LIMITS, "bytewax, batch 500"}


def test_faults_of_runs(bench: Any) -> None:
    def fault(code: int | None, count: int, total: int, strays: int = 0) -> str:
        outcome = bench.processes.Outcome(code, 1.0, 10.0, "what\nwent wrong\n", strays)
        return bench.harness._fault("ints", 10, outcome, (1.0, count, total, 2.0), 60.0)

    assert fault(0, 10, 45) == ""
    assert fault(0, 10, 44) == "wrong answer"
    assert fault(0, 7, 21) == "exit code 0, 3 of 10 lost"
    assert fault(0, 12, 45) == "2 too many"
    assert fault(1, 7, 21) == "exit code 1, 3 of 10 lost: went wrong"
    assert fault(None, 10, 45) == "took longer than 60 s, after all had arrived"
    assert fault(0, 10, 45, strays=2) == "left 2 processes"


def test_counts_of_several_processes_are_put_together(bench: Any, tmp_path: Path) -> None:
    code = "import marks, sys; marks.began(); marks.tally(3, int(sys.argv[1]))"
    for total in ("5", "6"):
        env = {
            **os.environ,
            "BENCH_MARKS": str(tmp_path),
            "PYTHONPATH": str(BENCHMARKS / "bench" / "pipelines"),
        }
        subprocess.run([sys.executable, "-c", code, total], env=env, check=True)
    began, count, total, end = bench.harness.marks.read(str(tmp_path))
    assert (count, total) == (6, 11)
    assert 0 < began <= end


def test_what_a_command_leaves_is_found_and_ended(bench: Any, tmp_path: Path) -> None:
    script = "import subprocess; subprocess.Popen(['sleep', '100'], start_new_session=True)"
    outcome = bench.processes.run(
        [sys.executable, "-c", script], env={}, folder=tmp_path, timeout=30
    )
    assert (outcome.code, outcome.strays) == (0, 1)


def test_a_command_that_hangs_is_ended(bench: Any, tmp_path: Path) -> None:
    outcome = bench.processes.run(["sleep", "100"], env={}, folder=tmp_path, timeout=0.1)
    assert outcome.code is None


# --- the soak -------------------------------------------------------------------------------------


def test_verdicts_of_the_soak(bench: Any) -> None:
    def weigh(error: str | None, seen: list[int], killed: set[int], **more: Any) -> Any:
        answer = {"error": error, "seen": seen, "collected": [seen]}
        return bench.soak.weigh(answer, 3, killed, {1}, **{"dynamic": True, **more})

    died = "WorkerDied: the worker process that held the state of Collect was killed"
    assert weigh(None, [2, 0, 1], {5}) == (0, 0, "")
    assert weigh(None, [2, 0], {5}) == (2, 0, "")
    assert weigh(None, [2, 0, 1, 1], {5})[1] == 2
    assert weigh(None, [2, 0, 7], {5})[2] == "2 items that were never sent"
    assert weigh(died, [2], {1}) == (0, 0, "")
    assert weigh(died, [2], {5})[2].startswith("nothing pinned was killed")
    assert weigh("PEError: odd", [2], {5})[2] == "PEError: odd"
    assert weigh("PEError: odd", [2], set())[2].startswith("failed without a kill")
    assert weigh("WorkerDied: gone", [2], {5}, dynamic=False) == (0, 0, "")


def test_soak_of_dyn_multi() -> None:
    command = [sys.executable, str(BENCHMARKS / "soak"), "--kills", "6", "--only", "dyn_multi"]
    command += ["--items", "1000", "--seed", "3"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    total = [cell.strip() for cell in run.stdout.splitlines()[-1].split("|")[1:-1]]
    assert total[0] == "all"
    assert int(total[2]) >= 6
    assert total[6:] == ["0", "0", "0", "0"]


# --- memory ---------------------------------------------------------------------------------------


def watch_memory(*options: str) -> tuple[int, list[list[str]]]:
    command = [sys.executable, str(BENCHMARKS / "memory"), *options]
    run = subprocess.run(command, capture_output=True, text=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in run.stdout.splitlines()]
    return run.returncode, rows[2:]


def test_memory_of_a_long_stream_is_watched() -> None:
    code, ((simple, *first), (multi, *second)) = watch_memory(
        "--items", "1000000", "--only", "simple,multi"
    )
    assert (code, simple, multi) == (0, "simple", "multi")
    for items, rate, early, late, growth, fault in (first, second):
        assert (items, fault) == ("1,000,000", "")
        assert float(rate.replace(",", "")) > 0
        assert 0 < float(growth) <= 1.2
        assert float(early) > 5
        assert float(late) > 5


def test_memory_of_a_run_that_fails_is_no_figure() -> None:
    code, (row,) = watch_memory("--items", "10", "--only", "simpel")
    assert code == 1
    assert "no mapping is called 'simpel'" in row[-1]


# --- growth ---------------------------------------------------------------------------------------


def test_growth_of_a_run_with_its_graph_is_measured() -> None:
    command = [sys.executable, str(BENCHMARKS / "growth"), "--pes", "40", "--only", "simple,multi"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| simple") == done.stdout.count("| multi") == 4
    done = subprocess.run(
        [*command, "--only", "simpel", "--shapes", "chain"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert (done.returncode, "exit code 2" in done.stdout) == (1, True)
