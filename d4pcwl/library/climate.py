"""Climate indices of netCDF files, by icclim."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from d4pcwl.library.files import declare_output, needed
from d4pcwl.streams.output_file import PARTIAL
from d4pcwl.workflow.pe import IterativePE

_DAYS = "days since 1850-01-01"
"""The unit of times, as icclim writes them."""


class ClimateIndex(IterativePE):
    """Computes a climate index of each netCDF file with icclim, such as the number of summer days.

    :param index: its name, such as ``SU`` (summer days), ``FD`` (frost days) or ``TX90p``; icclim
        knows those of ECA&D
    :param out: the folder for the files, ``NAME_INDEX.nc``; it is made if necessary
    :param per: a time of icclim's: ``year``, ``month``, ``DJF``, …
    :param variable: its name in the files; None: icclim finds it
    :param reference: first and last day of the period for percentiles, such as 1961-01-01
    :param folder: where relative paths begin; None: the working folder
    :raises ValueError: while it runs, icclim does not know the index, or cannot compute it

    Input: paths of netCDF files with daily values. Output: dictionaries with ``index``, ``input``
    (the path that came) and ``path`` (of the index: in days for counts of days).
    """

    def __init__(
        self,
        index: str,
        out: str | os.PathLike[str] = "indices",
        per: str = "year",
        variable: str | None = None,
        reference: tuple[str, str] | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.index, self.out, self.per = index, os.fspath(out), per
        self.variable, self.reference = variable, reference
        self.folder = os.fspath(folder or "")
        declare_output(self, f"{self.out}/*_{index}.nc", "File[]", name=f"{Path(out).name}_{index}")

    def _process(self, path: str) -> dict[str, Any]:
        icclim = needed("icclim", "climate")
        made = os.path.join(self.out, f"{Path(path).stem}_{self.index}.nc")
        os.makedirs(self.out, exist_ok=True)
        dask = needed("dask", "climate")
        try:
            # Processes share the work already; and threads of dask's do not survive a fork.
            with dask.config.set(scheduler="synchronous"):
                index = icclim.index(
                    in_files=os.path.join(self.folder, path),
                    index_name=self.index,
                    slice_mode=self.per,
                    var_name=self.variable,
                    base_period_time_range=self.reference,
                    logs_verbosity="SILENT",
                )
                times = [name for name in ("time", "time_bounds") if name in index]
                encoding = {name: {"units": _DAYS, "dtype": "float64"} for name in times}
                index.to_netcdf(made + PARTIAL, encoding=encoding)
        # icclim and the packages below it raise errors of many kinds.
        except Exception as error:
            raise ValueError(f"{self.index} of {path}: {error}") from error
        os.replace(made + PARTIAL, made)
        return {"index": self.index, "input": path, "path": made}
