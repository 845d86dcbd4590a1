"""Where mpiexec is, for the tests that run it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

MPIEXEC = Path(sys.executable).with_name("mpiexec")
needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MPIEXEC.exists(),
    reason="mpi4py, or mpiexec beside Python, is missing: pip install 'd4pcwl[mpi]'",
)
