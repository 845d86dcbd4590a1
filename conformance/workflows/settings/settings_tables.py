"""The table of stations, which lies beside this module."""

from pathlib import Path

TABLE = Path(__file__).parent / "tables" / "stations.txt"


def stations():
    """Pairs of a station's code and its counts."""
    for line in TABLE.read_text().splitlines():
        code, counts = line.split()
        yield code, int(counts)
