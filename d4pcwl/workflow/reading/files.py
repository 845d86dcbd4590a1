"""The files that a script names: data that it reads, and files that it clearly writes."""

from __future__ import annotations

import ast
import glob
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from d4pcwl.workflow.reading.model import (
    VALUE,
    LocalFile,
    NamedPath,
    Note,
    SourceFile,
    VariablePath,
)
from d4pcwl.workflow.reading.paths import (
    UNKNOWN,
    Attributes,
    Parts,
    Paths,
    UnknownPart,
    is_environ,
    whole,
)
from d4pcwl.workflow.reading.roots import last_name, words

LARGE: Final = 100 * 1024 * 1024
MANY: Final = 10
"""Up to this many files of a pattern are named one by one; for more, the folder that contains
them."""
OPENERS: Final = words("open Dataset File ZipFile TarFile memmap ASDFDataSet GzipFile")
LOADERS: Final = OPENERS | words(
    "load loadtxt genfromtxt fromfile read read_csv read_events read_inventory read_text read_bytes"
    " open_dataset imread loadmat read_table read_excel read_parquet read_hdf read_fwf"
)
FOLDER_READERS: Final = words("listdir scandir walk glob iglob rglob iterdir copytree")
READERS: Final = LOADERS | FOLDER_READERS | words("Path PurePath join isfile isdir exists")
SAVERS: Final = words(  # their first argument is what they write
    "to_csv to_json to_parquet to_excel to_pickle to_hdf to_netcdf to_file to_html to_feather"
    " savefig imsave imwrite save savez savez_compressed savetxt tofile write_image write_html"
    " FileHandler mkdir makedirs"
)
OWN_WRITERS: Final = words("write_text write_bytes touch mkdir")
TARGETS: Final = words("copy copy2 copyfile copytree move rename replace urlretrieve")
FOLDER_MAKERS: Final = words("mkdir makedirs")
SYSTEM: Final = ("/dev/", "/proc/", "/sys/", "/usr/", "/bin/")


class Files:
    """Collects over several sources into ``files``, ``folders``, ``writes`` and ``notes``.

    ``read`` are those that it certainly reads, not only names; ``made`` are the folders that it
    makes, as glob patterns; ``variables`` are findings about environment variables that name files
    or folders.

    :param attributes: the known attributes of instances
    :param builder: the function whose defaults are values of parameters, and not paths
    """

    def __init__(
        self,
        root: Path,
        modules: frozenset[str],
        attributes: Attributes | None = None,
        builder: str | None = None,
    ) -> None:
        self.root = root
        self.modules = modules
        self.attributes = attributes
        self.builder = builder
        self.files: dict[str, LocalFile] = {}
        self.folders: dict[str, LocalFile] = {}
        self.writes: set[NamedPath] = set()
        self.read: set[str] = set()
        self.made: set[str] = set()
        self.makes_any = False
        self.variables: set[VariablePath] = set()
        self.notes: set[Note] = set()

    def collect(self, source: SourceFile) -> None:
        """Add what ``source`` names."""
        _FileReader(self, source).read(source.tree)

    def settled_writes(self) -> set[NamedPath]:
        """The written files. A name that begins with a hole is not a pattern if the script also
        makes folders with such names, because the file may be in one of them."""
        return {
            replace(found, path="", pattern=False, folder=True)
            if self.makes_any and found.pattern and found.path.startswith("*")
            else found
            for found in self.writes
        }

    def needed(
        self, found: Mapping[str, LocalFile], writes: Iterable[NamedPath]
    ) -> Iterator[LocalFile]:
        """Those of ``found`` that are needed when the script runs: not files that it only
        writes."""
        paths = [written.path for written in writes if written.path]
        for path, file in found.items():
            if path in self.read or not any(overlap(path, other) for other in paths):
                yield file


class _FileReader:
    def __init__(self, found: Files, source: SourceFile) -> None:
        self.found, self.source = found, source
        self.paths = Paths(source, found.attributes)
        names = (n for n in ast.walk(source.tree) if isinstance(n, ast.Name))
        self.loaded = {name.id for name in names if isinstance(name.ctx, ast.Load)}
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        self.defined = {n.name for n in ast.walk(source.tree) if isinstance(n, functions)}
        # A file that a function has newly written is not an input when it reads it again.
        self.anew: frozenset[str] = frozenset()

    def read(self, node: ast.AST, known: bool = False, use: str = "") -> None:
        """Look for paths in ``node``.

        :param known: whether a path is expected there
        :param use: what is done with it, if that is known: ``File`` or ``Directory``
        """
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            anew = self.anew
            with self.paths.inside(node):
                for child in ast.iter_child_nodes(node):
                    if not isinstance(child, ast.arguments) or node.name != self.found.builder:
                        self.read(child)
            self.anew = anew
            return
        if isinstance(node, ast.Call) and self.call(node):
            return
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if self.constant(target, node.value):
                return
        if isinstance(node, ast.expr):
            parts = self.paths.parts(node)
            if parts != UNKNOWN:
                plain = isinstance(node, ast.Constant)
                self.path(parts, node, known or not plain, use)
                if whole(parts) is not None or _begins(parts) == VALUE:
                    return
        self.children(node)

    def children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self.read(child)

    def constant(self, target: ast.expr, value: ast.expr) -> bool:
        """Whether a path is assigned to a name; the use of the name tells more."""
        if not isinstance(target, ast.Name) or target.id not in self.paths.constants:
            return False
        parts = self.paths.parts(value)
        if parts == UNKNOWN:
            return False
        text = whole(parts)
        if text is None:
            return target.id in self.loaded and _begins(parts) != ""
        if target.id not in self.loaded or not os.path.isdir(self.found.root / text):
            self.name(text, value, known=False)
        return True

    # -- calls --------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> bool:
        """Find what a call writes or reads; return whether nothing is left to do."""
        func = node.func
        name = last_name(func)
        owner = func.value if isinstance(func, ast.Attribute) else None
        target, mode = self.written(name, owner, node)
        if target is not None:
            self.write(target, node, name, mode)
            rest = [a for a in (*node.args, *(k.value for k in node.keywords)) if a is not target]
            for argument in rest:
                self.read(argument)
            if owner is not None and owner is not target:
                self.read(owner)
            return True
        if self.paths.parts(node) != UNKNOWN:
            return False  # a path expression
        if name in ("getenv", "log", "print") or is_environ(owner):
            return True
        use = "Directory" if name in FOLDER_READERS else "File" if name in LOADERS else ""
        if (
            name in ("glob", "rglob", "iterdir")
            and owner is not None
            and last_name(owner) != "glob"
        ):
            self.read(owner, known=True, use=use)  # the folder; the pattern is relative to it
            return True
        if name in ("read_text", "read_bytes", "open") and owner is not None:
            self.read(owner, known=self.paths.parts(owner) != UNKNOWN, use=use)
        if name in READERS:
            self.read(func)
            for number, argument in enumerate(node.args):
                self.read(argument, known=True, use="" if number else use)
            for keyword in node.keywords:
                self.read(keyword.value)
            return True
        return False

    def written(
        self, name: str, owner: ast.expr | None, node: ast.Call
    ) -> tuple[ast.expr | None, str]:
        """The expression that names what the call writes, or None; and its mode."""
        args, keywords = node.args, {k.arg: k.value for k in node.keywords if k.arg}
        if name in self.defined and (owner is None or last_name(owner) == "self"):
            return None, ""
        if name in OPENERS:
            as_method = name == "open" and owner is not None and self.is_path(owner)
            mode = keywords.get("mode") or next(iter(args[0 if as_method else 1 :]), None)
            text = self.paths.value(mode) if mode is not None else None
            first = owner if as_method else next(iter(args), None)
            if text and re.search(r"[wax+]", text) and len(text) < 5:
                return first, text
            return None, ""
        own = owner is not None and _is_path_like(owner) and last_name(owner) != "os"
        if name in OWN_WRITERS and own and not args[1:]:
            return owner, "w"
        if name in SAVERS:
            return next(iter(args), keywords.get("fname") or keywords.get("filename")), "w"
        if name == "write" and args and "format" in keywords:
            return args[0], "w"  # obspy: stream.write("x.mseed", format="MSEED")
        if name == "basicConfig":
            return keywords.get("filename"), "a"
        if name in TARGETS and len(args) == 2 and owner is not None:
            module = ast.unparse(owner).rpartition(".")[2]
            if module in ("shutil", "os", "request"):
                return args[1], "w"
        return None, ""

    def is_path(self, node: ast.expr) -> bool:
        text = ast.unparse(node)
        return text not in ("io", "gzip", "bz2", "lzma", "codecs", "tarfile", "os", "Image", "np")

    def write(self, target: ast.expr, node: ast.Call, name: str, mode: str) -> None:
        for parts in self.paths.alternatives(target):
            self.write_one(_with_suffix(parts, node), target, node, name, mode)

    def write_one(
        self, parts: Parts, target: ast.expr, node: ast.Call, name: str, mode: str
    ) -> None:
        where = (self.source.path, node.lineno)
        if name in FOLDER_MAKERS:
            made = self.inside(parts, target)
            self.found.makes_any |= made is None or isinstance(made[0], UnknownPart)
            if made is not None and not isinstance(made[0], UnknownPart):
                self.found.made.add(_pattern(made))
            elif not any(k.arg == "exist_ok" for k in node.keywords):
                self.found.made.add("*")
            return
        if isinstance(parts[0], UnknownPart) and parts[0].variable:
            variable, rest = parts[0].variable, parts[1:]
            slash = not rest or str(rest[0]).startswith("/")
            self.found.variables.add(VariablePath(variable, "written", slash, *where))
            named = _some_files((VALUE, *rest), *where)
            self.found.writes.add(replace(named, variable=variable))
            return
        if parts == UNKNOWN:
            if not isinstance(
                target, ast.Name | ast.JoinedStr | ast.BinOp | ast.Call | ast.Attribute
            ):
                return
        elif isinstance(parts[0], str) and not parts[0] and len(parts) == 1:
            return
        place = self.inside(parts, target)
        if place is None:
            away = f"writes {_text(parts)}, which is not in the folder where it runs"
            self.found.notes.add(Note(away, *where))
            return
        text = whole(place)
        if text is not None:
            if re.search(r"[ra+]", mode):
                self.read(target, known=True, use="File")
            else:
                self.anew |= {str(PurePosixPath(text))}
            if text not in ("", "."):
                self.found.writes.add(NamedPath(str(PurePosixPath(text)), *where))
            return
        self.found.writes.add(_some_files(place, *where))
        if not self.named(place):
            said = f"writes a file whose name is only known when it runs: {_short(target)}"
            self.found.notes.add(Note(said, *where))

    @staticmethod
    def named(place: Parts) -> bool:
        return bool(_some_files(place, "", 0).path)

    def inside(self, parts: Parts, node: ast.expr) -> Parts | None:
        """A path relative to the script's folder, or None if it is outside of it."""
        first = parts[0]
        if isinstance(first, UnknownPart):
            return parts
        if os.path.isabs(first):
            head, _, tail = first.rpartition("/") if len(parts) > 1 else (first, "", "")
            first = os.path.join(os.path.relpath(head or "/", self.found.root), tail)
            if first.startswith("..") or not self.paths.anchored(node):
                return None
        normal = os.path.normpath(first) if first else ""
        if normal.startswith(".."):
            return None
        if len(parts) > 1:
            normal = "" if normal == "." else normal
            normal += "/" if normal and first.endswith("/") else ""
        return (normal, *parts[1:]) if normal or len(parts) == 1 else parts[1:]

    # -- names --------------------------------------------------------------------------------

    def path(self, parts: Parts, node: ast.expr, known: bool, use: str) -> None:
        """Report a path that is read; if it has holes, only its certain part."""
        first, text = parts[0], whole(parts)
        if text is not None:
            self.name(text, node, known, use)
        elif isinstance(first, UnknownPart):
            if first.variable:
                self.variable(first.variable, parts[1:], node, use)
        elif "/" in first:
            self.name(first.rpartition("/")[0] + "/", node, known=True, use=use)
        elif known and use == "File" and first.strip("."):
            self.name(_pattern(parts), node, known=True, use=use)

    def variable(self, name: str, rest: Parts, node: ast.expr, use: str) -> None:
        """Note an environment variable at the beginning of a path: it names a folder, or, alone,
        perhaps a file."""
        slash = bool(rest) and str(rest[0]).startswith("/")
        if slash or (rest and use):
            use = "Directory"
        if use:
            found = VariablePath(name, use, slash or not rest, self.source.path, node.lineno)
            self.found.variables.add(found)

    def name(self, value: str, node: ast.expr, known: bool, use: str = "") -> None:
        """Report ``value`` if it looks like a path and exists."""
        if not value or len(value) > 1000 or "\n" in value or "\0" in value or "://" in value:
            return
        if not known and "/" not in value and not PurePosixPath(value).suffix:
            return
        if "*" in value and not value.startswith("/"):
            if known:
                self.matches(value, node, use)
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
            self.note(f"{value} points outside of the script's folder; it is not staged", node)
        else:
            self.take(normal, normal.relative_to(self.found.root).as_posix(), node, use)

    def matches(self, pattern: str, node: ast.expr, use: str) -> None:
        """Report the files of a pattern, or, if there are many, the folder that contains them."""
        found = sorted(self._glob(pattern))
        fixed = PurePosixPath(*_before(PurePosixPath(pattern).parts, "*"))
        if len(found) > MANY and fixed.parts and str(fixed) != pattern:
            found = [self.found.root / fixed]
        for match in found:
            self.take(match, match.relative_to(self.found.root).as_posix(), node, use)

    def take(self, place: Path, path: str, node: ast.expr, use: str) -> None:
        if path == "." or path in self.found.modules or path in self.anew:
            return
        if use:
            self.found.read.add(path)
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


def overlap(path: str, written: str) -> bool:
    """Whether a file or folder matches a path or glob pattern, or one is inside the other."""
    return within(path, written) or within(written, path)


def changes(written: str, path: str) -> bool:
    """Whether the written file is certainly the file or folder ``path``, or inside it."""
    return within(written, path) or ("*" not in written and within(path, written))


def within(path: str, pattern: str) -> bool:
    """Whether ``path``, or a folder that contains it, matches a path or glob pattern."""
    place = PurePosixPath(path)
    around = [str(place), *map(str, place.parents)]
    return any(fnmatchcase(each, str(PurePosixPath(pattern))) for each in around)


def _with_suffix(parts: Parts, node: ast.Call) -> Parts:
    """The path that a call writes: numpy puts its own suffix behind others."""
    func, last = node.func, parts[-1]
    owner = last_name(func.value) if isinstance(func, ast.Attribute) else ""
    suffix = {"save": ".npy", "savez": ".npz", "savez_compressed": ".npz"}.get(last_name(func))
    if owner not in ("np", "numpy") or suffix is None or isinstance(last, UnknownPart) or not last:
        return parts
    return parts if last.endswith(suffix) else (*parts[:-1], last + suffix)


def _some_files(place: Parts, file: str, line: int) -> NamedPath:
    """Files whose names have holes: as a pattern, as the folder that contains them, or as any
    file."""
    segments = _pattern(place).split("/")
    if whole(place) is not None:
        return NamedPath(whole(place) or "", file, line)
    fixed = list(_before(segments, "*"))
    if len(fixed) == len(segments) - 1 and segments[-1].strip("*"):
        return NamedPath("/".join(segments), file, line, pattern=True)
    return NamedPath("/".join(fixed), file, line, folder=True)


def _before(segments: Iterable[str], sign: str) -> Iterator[str]:
    for segment in segments:
        if sign in segment:
            return
        yield segment


def _pattern(parts: Parts) -> str:
    """The glob pattern of a path with holes."""
    text = "".join("*" if isinstance(p, UnknownPart) else glob.escape(p) for p in parts)
    return re.sub(r"\*+", "*", text)


def _begins(parts: Parts) -> str:
    """The text at the beginning of a path, or :data:`VALUE` for a variable."""
    first = parts[0]
    return first if isinstance(first, str) else VALUE if first.variable else ""


def _text(parts: Parts) -> str:
    return "".join("*" if isinstance(part, UnknownPart) else part for part in parts)


def _is_path_like(node: ast.expr) -> bool:
    return not isinstance(node, ast.Name) or node.id != "self"


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."
