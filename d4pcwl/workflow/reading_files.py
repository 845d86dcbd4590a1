"""The files that a script names: data that it reads, and what it visibly writes."""

from __future__ import annotations

import ast
import os.path
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from d4pcwl.workflow.reading_model import LocalFile, NamedPath, Note, Source
from d4pcwl.workflow.reading_paths import Paths
from d4pcwl.workflow.reading_roots import words

LARGE: Final = 100 * 1024 * 1024
OPENERS: Final = words("open Dataset File ZipFile TarFile memmap ASDFDataSet GzipFile")
READERS: Final = OPENERS | words(
    "Path PurePath listdir scandir walk glob iglob rglob load loadtxt genfromtxt fromfile read"
    " read_csv read_events read_inventory join isdir isfile exists copytree"
)
SAVERS: Final = words(  # their first argument is what they write
    "to_csv to_json to_parquet to_excel to_pickle to_hdf to_netcdf to_file to_html to_feather"
    " savefig imsave imwrite save savez savez_compressed savetxt tofile write_image write_html"
    " FileHandler mkdir makedirs"
)
OWN_WRITERS: Final = words("write_text write_bytes touch mkdir")
TARGETS: Final = words("copy copy2 copyfile copytree move rename replace urlretrieve")
NOT_FILES: Final = words("mkdir makedirs")
SYSTEM: Final = ("/dev/", "/proc/", "/sys/", "/usr/", "/bin/")


class Files:
    """Collects over several sources into ``files``, ``folders``, ``writes`` and ``notes``.

    ``writes_more`` tells that there are further writes, whose names only the run knows.
    """

    def __init__(self, root: Path, modules: frozenset[str]) -> None:
        self.root = root
        self.modules = modules
        self.files: dict[str, LocalFile] = {}
        self.folders: dict[str, LocalFile] = {}
        self.writes: dict[str, NamedPath] = {}
        self.notes: set[Note] = set()
        self.writes_more = False

    def collect(self, source: Source) -> None:
        """Add what ``source`` names."""
        _FileReader(self, source).read(source.tree)


class _FileReader:
    def __init__(self, found: Files, source: Source) -> None:
        self.found, self.source, self.paths = found, source, Paths(source)
        names = (n for n in ast.walk(source.tree) if isinstance(n, ast.Name))
        loads = {name.id for name in names if isinstance(name.ctx, ast.Load)}
        self.unused = self.paths.constants.keys() - loads

    def read(self, node: ast.AST, known: bool = False) -> None:
        """Look for paths in ``node``; ``known`` tells that a path is expected there."""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node, ast.Call) and self.call(node):
            return
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            value = self.paths.value(node.value)
            single = isinstance(target, ast.Name) and target.id in self.paths.constants
            if value is not None and single and isinstance(target, ast.Name):
                if target.id in self.unused or not os.path.isdir(self.found.root / value):
                    self.name(value, node.value, known=False)
                return
        if isinstance(node, ast.expr):
            value = self.paths.value(node)
            if value is not None:
                plain = isinstance(node, ast.Constant)
                self.name(value, node, known=known or not plain)
                return
        if isinstance(node, ast.JoinedStr):
            self.partial(node)
        for child in ast.iter_child_nodes(node):
            self.read(child)

    # -- calls --------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> bool:
        """Read a call for what it writes or reads; whether nothing is left to do."""
        func = node.func
        name = func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")
        owner = func.value if isinstance(func, ast.Attribute) else None
        target = self.written(name, owner, node)
        if target is not None:
            self.write(target, node, quiet=name in NOT_FILES)
            rest = [a for a in (*node.args, *(k.value for k in node.keywords)) if a is not target]
            for argument in rest:
                self.read(argument)
            if owner is not None and owner is not target:
                self.read(owner)
            return True
        if name in ("getenv", "log", "print") or (owner and ast.unparse(owner).endswith("environ")):
            return True
        if self.paths.value(node) is not None:
            return False  # a path expression
        if name in ("glob", "rglob") and owner is not None and ast.unparse(owner) != "glob":
            self.read(owner)  # the folder; the pattern is relative to it
            return True
        if name in READERS:
            self.read(func)
            for argument in node.args:
                self.read(argument, known=True)
            for keyword in node.keywords:
                self.read(keyword.value)
            return True
        return False

    def written(self, name: str, owner: ast.expr | None, node: ast.Call) -> ast.expr | None:
        """The expression that names what the call writes, or None."""
        args, keywords = node.args, {k.arg: k.value for k in node.keywords if k.arg}
        if name in OPENERS:
            as_method = name == "open" and owner is not None and self.is_path(owner)
            mode = keywords.get("mode") or next(iter(args[0 if as_method else 1 :]), None)
            text = self.paths.value(mode) if mode is not None else None
            first = owner if as_method else next(iter(args), None)
            return first if text and re.search(r"[wax]", text) else None
        if name in OWN_WRITERS and owner is not None and not args[1:] and _is_path_like(owner):
            return owner
        if name in SAVERS:
            return next(iter(args), keywords.get("fname") or keywords.get("filename"))
        if name == "write" and args and "format" in keywords:
            return args[0]  # obspy: stream.write("x.mseed", format="MSEED")
        if name == "basicConfig":
            return keywords.get("filename")
        if name in TARGETS and len(args) == 2 and owner is not None:
            module = ast.unparse(owner).rpartition(".")[2]
            return args[1] if module in ("shutil", "os", "request") else None
        return None

    def is_path(self, node: ast.expr) -> bool:
        text = ast.unparse(node)
        return text not in ("io", "gzip", "bz2", "lzma", "codecs", "tarfile", "os", "Image", "np")

    def write(self, target: ast.expr, node: ast.Call, quiet: bool) -> None:
        value, source = self.paths.value(target), self.source
        if quiet:
            return
        if value is None:
            if isinstance(target, ast.Name | ast.JoinedStr | ast.BinOp | ast.Call | ast.Attribute):
                text = f"writes a file whose name is only known when it runs: {_short(target)}"
                self.found.notes.add(Note(text, source.path, node.lineno))
                self.found.writes_more = True
            return
        path = value
        if os.path.isabs(path):
            inside = os.path.relpath(os.path.normpath(path), self.found.root)
            if inside.startswith("..") or not self.paths.anchored(target):
                text = f"writes {value}, which is not in the folder where it runs"
                self.found.notes.add(Note(text, source.path, node.lineno))
                return
            path = inside
        if path:
            named = NamedPath(str(PurePosixPath(path)), source.path, node.lineno)
            self.found.writes.setdefault(named.path, named)

    # -- names --------------------------------------------------------------------------------

    def partial(self, node: ast.JoinedStr) -> None:
        """``f"data/{name}.csv"`` names a file in folder ``data``."""
        first = node.values[0] if node.values else None
        if isinstance(first, ast.Constant) and "/" in str(first.value):
            self.name(str(first.value).rpartition("/")[0] + "/", node, known=True)

    def name(self, value: str, node: ast.expr, known: bool) -> None:
        """Report ``value`` where it looks like a path and is one."""
        if not value or len(value) > 1000 or "\n" in value or "\0" in value or "://" in value:
            return
        if not known and "/" not in value and not PurePosixPath(value).suffix:
            return
        if "*" in value and not value.startswith("/"):
            for match in sorted(self._glob(value)) if known else ():
                self.take(match, match.relative_to(self.found.root).as_posix(), node)
            return
        cut = re.search(r"[%{]", value)
        if cut and "/" in value[: cut.start()]:
            value = value[: cut.start()].rpartition("/")[0] + "/"
        place = self.found.root / value
        try:
            exists = place.exists()
        except OSError:  # a name too long, or a folder that may not be read
            return
        if not exists:
            return
        normal = Path(os.path.normpath(place))
        inside, anchored = normal.is_relative_to(self.found.root), self.paths.anchored(node)
        if os.path.isabs(value) and not (anchored and inside):
            if anchored:
                self.note(f"{value} is outside the script's folder; it is not staged", node)
            elif not value.startswith(SYSTEM) and value not in ("/", "/tmp"):
                self.note(f"{value} is an absolute path; it is not staged", node)
        elif not inside or (not anchored and ".." in PurePosixPath(value).parts):
            self.note(f"{value} leads out of the script's folder; it is not staged", node)
        else:
            self.take(normal, normal.relative_to(self.found.root).as_posix(), node)

    def take(self, place: Path, path: str, node: ast.expr) -> None:
        if path == "." or path in self.found.modules or path == self.source.path:
            return
        local = LocalFile(path, place, self.source.path, node.lineno)
        if place.is_dir():
            self.found.folders.setdefault(path, local)
        elif not place.is_file():
            return
        elif place.stat().st_size > LARGE:
            size = place.stat().st_size // (1024 * 1024)
            self.note(f"{path} has {size} MB; it is not staged, make it an input", node)
        else:
            self.found.files.setdefault(path, local)

    def note(self, text: str, node: ast.expr) -> None:
        self.found.notes.add(Note(text, self.source.path, node.lineno))

    def _glob(self, pattern: str) -> Iterator[Path]:
        try:
            yield from (p for p in self.found.root.glob(pattern) if ".." not in p.parts)
        except (ValueError, NotImplementedError, OSError):  # not a pattern that pathlib knows
            return


def _is_path_like(node: ast.expr) -> bool:
    return not isinstance(node, ast.Name) or node.id != "self"


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."
