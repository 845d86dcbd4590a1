"""What a script needs beside itself, found by reading it: nothing is imported or run.

Local modules, data files that it names, files that it writes, environment variables, packages. The
compiler stages the files and sets the variables, because CWL tools start in an empty folder with an
empty environment.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path

from d4pcwl.errors import Fault
from d4pcwl.workflow.reading.arguments import notes_on_arguments
from d4pcwl.workflow.reading.environment import Environment
from d4pcwl.workflow.reading.files import Files
from d4pcwl.workflow.reading.imports import Imports
from d4pcwl.workflow.reading.model import EnvVar, LocalFile, NamedPath, Note, parse
from d4pcwl.workflow.reading.paths import Attributes

__all__ = ["EnvVar", "LocalFile", "NamedPath", "Note", "ScriptReading", "read_script"]


@dataclass(frozen=True)
class ScriptReading:
    """What was found in a script and its local modules; each tuple is sorted by path or name.

    :param path: the script
    :param title: the first line of its docstring, or empty
    :param doc: the rest of its docstring
    :param modules: local modules that it imports, directly or not
    :param packages: top-level names of installed packages that it imports
    :param data_files: existing files beside the script that it names
    :param data_dirs: existing folders beside the script that it names
    :param writes: files that it clearly writes, by relative name; a file in several lines occurs
        several times
    :param folders_made: glob patterns of the folders that it makes itself
    :param environment: environment variables that it reads
    :param notes: findings that users should check
    :param faults: what will fail if only these files are there
    """

    path: Path
    title: str = ""
    doc: str = ""
    modules: tuple[LocalFile, ...] = ()
    packages: tuple[str, ...] = ()
    data_files: tuple[LocalFile, ...] = ()
    data_dirs: tuple[LocalFile, ...] = ()
    writes: tuple[NamedPath, ...] = ()
    folders_made: frozenset[str] = frozenset()
    environment: tuple[EnvVar, ...] = ()
    notes: tuple[Note, ...] = ()
    faults: tuple[Fault, ...] = ()


def read_script(
    path: Path, attributes: Attributes | None = None, builder: str | None = None
) -> ScriptReading:
    """Read the script at ``path`` and the local modules that it imports.

    :param path: a Python file; its folder is where modules and data are looked for
    :param attributes: the known attributes of instances, if the script was loaded
    :param builder: the name of the function that makes the graph, if there is one: files in its
        defaults are parameters of the workflow
    :returns: what was found; a file that cannot be read or parsed is in ``faults``
    """
    absolute = Path(path).resolve()
    root = absolute.parent
    script = parse(absolute.name, root, "")
    if isinstance(script, Fault):
        return ScriptReading(absolute, faults=(script,))
    imports = Imports(root)
    imports.follow(script)
    sources = [script, *(imports.sources[p] for p in sorted(imports.sources) if p != script.path)]
    files = Files(root, frozenset(imports.modules) | {script.path}, attributes, builder)
    environment = Environment()
    for source in sources:
        files.collect(source)
        environment.collect(source)
    title, doc = _documentation(script.tree)
    writes = files.settled_writes()
    for variable in files.variables:
        environment.use(variable)
    notes = imports.notes | files.notes | environment.notes
    notes |= {note for source in sources for note in notes_on_arguments(source)}
    return ScriptReading(
        path=absolute,
        title=title,
        doc=doc,
        modules=tuple(sorted(imports.modules.values())),
        packages=tuple(sorted(imports.packages)),
        data_files=tuple(sorted(files.needed(files.files, writes))),
        data_dirs=tuple(sorted(files.needed(files.folders, writes))),
        writes=tuple(sorted(writes)),
        folders_made=frozenset(files.made),
        environment=tuple(environment.variables[n] for n in sorted(environment.variables)),
        notes=tuple(sorted(notes, key=lambda n: (n.file, n.line, n.message))),
        faults=tuple(sorted(imports.faults, key=lambda f: (f.file or "", f.line or 0, f.message))),
    )


def _documentation(tree: ast.Module) -> tuple[str, str]:
    text = inspect.cleandoc(ast.get_docstring(tree, clean=False) or "")
    title, _, rest = text.partition("\n")
    return title.strip(), rest.strip()
