"""PEs that read files, item by item, and that write them, whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from d4pcwl.errors import PEError
from d4pcwl.streams.output_file import OutputFile
from d4pcwl.workflow.pe import IterativePE, ProducerPE

_FILE = {"inputs": {"input": {"type": "File"}}}
_BLOCK = 1 << 20

# --- reading --------------------------------------------------------------------------------------


class ListFiles(ProducerPE):
    """Lists the files of a folder.

    :param folder: where they are
    :param pattern: of their names, as in a shell; ``**/*.nc`` also finds files in subfolders
    :raises ValueError: while it runs, there is no such file

    Input: none, it is a source. Output: their paths, relative to the folder, in alphabetical order.
    Another step of CWL may have the folder in another place, so give the folder also to the PE that
    reads the files.
    """

    def __init__(self, folder: str | os.PathLike[str], pattern: str = "*") -> None:
        super().__init__()
        self.folder, self.pattern = os.fspath(folder), pattern

    def _process(self, inputs: Any) -> Iterator[str]:
        found = sorted(path for path in Path(self.folder).glob(self.pattern) if path.is_file())
        if not found:
            raise ValueError(f"{self.folder} has no file {self.pattern}")
        return (path.relative_to(self.folder).as_posix() for path in found)


class ReadLines(IterativePE):
    """Reads the lines of a text file, without the ends of lines.

    :param encoding: of the text

    Input: paths. Output: texts.
    """

    cwl = _FILE

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self.encoding = encoding

    def _process(self, path: str) -> Iterator[str]:
        with open(path, encoding=self.encoding) as file:
            for line in file:
                yield line.rstrip("\n")


class ReadJSON(IterativePE):
    """Reads a JSON file: the value in each line of ``.jsonl`` or ``.ndjson``, else the whole file.

    Input: paths. Output: values; if the whole file is a list, its entries.
    """

    cwl = _FILE

    def _process(self, path: str) -> Iterator[Any]:
        with open(path, encoding="utf-8") as file:
            if Path(path).suffix in _LINES:
                yield from (json.loads(line) for line in file if line.strip())
                return
            whole = json.load(file)
        yield from whole if isinstance(whole, list) else [whole]


class ReadCSV(IterativePE):
    """Reads a table whose first line has the names of the columns.

    :param numbers: whether entries that are numbers become numbers
    :param delimiter: between the entries of a line
    :raises ValueError: while it runs, a line has more or fewer entries than the first

    Input: paths. Output: dictionaries from column to entry, one for each line.
    """

    cwl = _FILE

    def __init__(self, numbers: bool = True, delimiter: str = ",") -> None:
        super().__init__()
        self.numbers, self.delimiter = numbers, delimiter

    def _process(self, path: str) -> Iterator[dict[str, Any]]:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = csv.reader(file, delimiter=self.delimiter)
            names = next(table, [])
            for row in filter(None, table):
                if len(row) != len(names):
                    raise ValueError(
                        f"{path}:{table.line_num}: {len(row)} entries, but {len(names)} columns"
                    )
                values = map(number_or_text, row) if self.numbers else row
                yield dict(zip(names, values, strict=True))


class ReadParquet(IterativePE):
    """Reads a Parquet table.

    :param columns: the columns to read; None: all

    Input: paths. Output: dictionaries from column to value, one for each row.
    """

    cwl = _FILE

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        super().__init__()
        self.columns = None if columns is None else list(columns)

    def _process(self, path: str) -> Iterator[dict[str, Any]]:
        parquet = needed("pyarrow.parquet", "parquet")
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=self.columns):
                yield from batch.to_pylist()


class ReadZarr(IterativePE):
    """Reads a Zarr array.

    :param rows: how many rows, along the first axis, an item has

    Input: paths of arrays. Output: numpy arrays; the last may be shorter.
    """

    cwl = {"inputs": {"input": {"type": "Directory"}}}

    def __init__(self, rows: int = 1) -> None:
        super().__init__()
        self.rows = rows

    def _process(self, path: str) -> Iterator[Any]:
        array = needed("zarr", "zarr").open_array(path, mode="r")
        for row in range(0, array.shape[0], self.rows):
            yield array[row : row + self.rows]


class Checksum(IterativePE):
    """Computes size and SHA-256 of files, and checks them if they are known.

    :raises ValueError: while it runs, a file has another checksum than the one that is given

    Input: paths, or dictionaries with ``path`` and ``sha256``. Output: dictionaries with ``path``,
    ``bytes`` and ``sha256``.
    """

    cwl = _FILE

    def _process(self, data: Any) -> dict[str, Any]:
        path = data["path"] if isinstance(data, dict) else os.fspath(data)
        expected = data.get("sha256") if isinstance(data, dict) else None
        found = checksum(path)
        if expected is not None and found != expected:
            raise ValueError(f"{path} has the SHA-256 {found}, not {expected}")
        return {"path": path, "bytes": os.path.getsize(path), "sha256": found}


# --- writing --------------------------------------------------------------------------------------


def declare_output(pe: Any, path: str, kind: str, name: str | None = None) -> None:
    """Say what a PE writes: not all objects of its class write the same, so each says it."""
    if not os.path.isabs(path):
        named = name or Path(path).stem
        vars(pe)["cwl"] = {"writes": {named: {"type": kind, "path": path}}}


class WriteFile(IterativePE):
    """The base of PEs that write all their items to one file.

    :param path: the file; it is there when all is written. Until then what there is is in
        ``PATH.partial``

    Output: when the file is there, a dictionary with ``path``, ``items``, ``bytes``, ``sha256``.
    """

    stateful = True
    single = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = os.fspath(path)
        declare_output(self, self.path, "File")
        self.items = 0

    def _preprocess(self) -> None:
        self.output = OutputFile(self.path)
        weakref.finalize(self, self.output.keep)  # a run that fails does not come to the end
        self.begin(self.output.file)

    def _process(self, data: Any) -> None:
        self.put(data)
        self.items += 1

    def _postprocess(self) -> None:
        self.end()
        self.output.finish()
        size, found = os.path.getsize(self.path), checksum(self.path)
        told = {"path": self.path, "items": self.items, "bytes": size, "sha256": found}
        self.write("output", told)

    @abstractmethod
    def begin(self, file: IO[bytes]) -> None:
        """Called before the first item, with the file to write to."""

    @abstractmethod
    def put(self, item: Any) -> None:
        """Write an item."""

    def end(self) -> None:
        """Write what comes after the last item."""


class WriteLines(WriteFile):
    """Writes a text file, one line for each item.

    :param path: the file

    Input: texts, or objects for ``str``, without an end of line. Output: a dictionary with
    ``path``, ``items``, ``bytes`` and ``sha256``.
    """

    def begin(self, file: IO[bytes]) -> None:
        self.file = file

    def put(self, item: Any) -> None:
        text = str(item)
        if "\n" in text:
            raise ValueError(f"the item has an end of line in it: {text[:60]!r}")
        self.file.write(f"{text}\n".encode())


class WriteJSON(WriteFile):
    """Writes a JSON file: ``.jsonl`` or ``.ndjson`` with an item in each line, else a list.

    :param path: the file; its suffix says which

    Input: values that JSON has. Output: a dictionary with ``path``,
    ``items``, ``bytes`` and ``sha256``.
    """

    def begin(self, file: IO[bytes]) -> None:
        self.file = file
        self.lines = Path(self.path).suffix in _LINES

    def put(self, item: Any) -> None:
        before = "" if self.lines else ",\n" if self.items else "[\n"
        text = json.dumps(item, ensure_ascii=False, allow_nan=False)
        self.file.write(f"{before}{text}{self._after()}".encode())

    def _after(self) -> str:
        return "\n" if self.lines else ""

    def end(self) -> None:
        if not self.lines:
            self.file.write(b"\n]\n" if self.items else b"[]\n")


class WriteCSV(WriteFile):
    """Writes a table: a line with the names of the columns, then a line for each item.

    :param path: the file
    :param columns: the columns; None: those of the first item
    :raises ValueError: while it runs, an item has other columns

    Input: dictionaries from column to entry. Output: a dictionary with ``path``,
    ``items``, ``bytes`` and ``sha256``.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> None:
        super().__init__(path)
        self.columns = None if columns is None else list(columns)

    def begin(self, file: IO[bytes]) -> None:
        self.text = TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self.table = csv.writer(self.text, lineterminator="\n")
        if self.columns is not None:
            self.table.writerow(self.columns)

    def put(self, item: dict[str, Any]) -> None:
        if self.columns is None:
            self.columns = list(item)
            self.table.writerow(self.columns)
        if item.keys() != set(self.columns):
            raise ValueError(f"the columns are {self.columns}, but the item has {list(item)}")
        self.table.writerow([item[name] for name in self.columns])

    def end(self) -> None:
        self.text.detach()


class WriteParquet(WriteFile):
    """Writes a Parquet table; the first rows decide the types of the columns.

    :param path: the file
    :param rows: how many rows are written at a time

    Input: dictionaries from column to value. Output: a dictionary with ``path``,
    ``items``, ``bytes`` and ``sha256``.
    """

    def __init__(self, path: str | os.PathLike[str], rows: int = 10_000) -> None:
        super().__init__(path)
        self.rows = rows
        self.waiting: list[dict[str, Any]] = []

    def begin(self, file: IO[bytes]) -> None:
        self.file = file
        self.table: Any = None
        self.arrow = needed("pyarrow", "parquet")
        self.parquet = needed("pyarrow.parquet", "parquet")

    def put(self, item: dict[str, Any]) -> None:
        self.waiting.append(item)
        if len(self.waiting) == self.rows:
            self._flush()

    def _flush(self) -> None:
        schema = None if self.table is None else self.table.schema
        rows = self.arrow.Table.from_pylist(self.waiting, schema=schema)
        if self.table is None:
            self.table = self.parquet.ParquetWriter(self.file, rows.schema)
        self.table.write_table(rows)
        self.waiting = []

    def end(self) -> None:
        if self.waiting or self.table is None:
            self._flush()
        self.table.close()


class WriteZarr(IterativePE):
    """Writes a Zarr array, item by item along the first axis.

    :param path: the folder of the array. It gets this name when it is complete, and is
        ``PATH.partial`` until then
    :raises FileExistsError: while it runs, the path already exists

    Input: numpy arrays whose shapes differ only in the first axis; the first array has as many rows
    as a chunk. Output: at the end, a dictionary with ``path`` and ``shape``.
    """

    stateful = True
    single = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = os.fspath(path)
        declare_output(self, self.path, "Directory")
        self.array: Any = None

    def _preprocess(self) -> None:
        if os.path.lexists(self.path):
            raise FileExistsError(f"{self.path} already exists; remove it, or give another path")
        self.zarr = needed("zarr", "zarr")

    def _process(self, data: Any) -> None:
        if self.array is None:
            self.array = self.zarr.create_array(
                f"{self.path}.partial",
                shape=(0, *data.shape[1:]),
                chunks=data.shape,
                dtype=data.dtype,
                overwrite=True,
            )
        self.array.append(data)

    def _postprocess(self) -> None:
        if self.array is None:
            raise ValueError(f"no item has come, so the shape and type of {self.path} are unknown")
        os.rename(f"{self.path}.partial", self.path)
        self.write("output", {"path": self.path, "shape": list(self.array.shape)})


# --- plain functions ------------------------------------------------------------------------------

_LINES = (".jsonl", ".ndjson")


def checksum(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def number_or_text(text: str) -> int | float | str:
    """The number that a text is, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def needed(module: str, extra: str) -> ModuleType:
    """A module that an extra brings.

    :raises PEError: it is not installed
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise PEError(f"{name} is not installed: pip install 'd4pcwl[{extra}]'") from None
