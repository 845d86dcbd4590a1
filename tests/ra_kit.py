"""What the tests of examples/ra_pipeline share: its modules, ObsPy, the data of a real event."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "ra_pipeline"
REFERENCE = Path(os.environ.get("RA_DATA") or ROOT.parent / "shared" / "data" / "ra")
"""The real event; its data are not part of the project, so the folder may be missing."""

sys.path.insert(0, str(EXAMPLE))

with warnings.catch_warnings():
    # ObsPy's import on Python 3.11 asks importlib.metadata in a way that is deprecated.
    warnings.filterwarnings("ignore", "SelectableGroups", DeprecationWarning)
    pytest.importorskip("numpy")
    obspy = pytest.importorskip("obspy")
