"""What a script needs beside itself: one row for each way to say it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from d4pcwl.workflow.reading.script import ScriptReading, read_script

Read = Callable[..., ScriptReading]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a script that lies beside the given files; ``name=None`` stands for a folder."""

    def build(text: str, files: dict[str, str] | None = None, at: str = "wf.py") -> ScriptReading:
        for name, content in {**(files or {}), at: textwrap.dedent(text)}.items():
            place = tmp_path / "work" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(textwrap.dedent(content))
        return read_script(tmp_path / "work" / at)

    return build


def names(found: tuple[object, ...], attribute: str = "path") -> list[str]:
    return [getattr(item, attribute) for item in found]


# -- modules ----------------------------------------------------------------------------------

PKG = {
    "pkg/__init__.py": "",
    "pkg/sub.py": "x = 1",
    "pkg/other.py": "",
    "pkg/deep/__init__.py": "",
    "pkg/deep/leaf.py": "from ..sub import x\nfrom . import twig",
    "pkg/deep/twig.py": "",
}
IMPORTS = {
    "module": ("import helper", {"helper.py": ""}, ["helper.py"]),
    "from module": ("from helper import x as y", {"helper.py": ""}, ["helper.py"]),
    "relative": ("from . import z", {"z.py": ""}, ["z.py"]),
    "relative, from": ("from .z import a", {"z.py": ""}, ["z.py"]),
    "transitive": ("import a", {"a.py": "import b", "b.py": ""}, ["a.py", "b.py"]),
    "cycle": ("import a", {"a.py": "import b", "b.py": "import a, wf"}, ["a.py", "b.py"]),
    "in a function": ("def f():\n    import helper", {"helper.py": ""}, ["helper.py"]),
    "guarded": (
        "try:\n    import fast_one as one\nexcept ImportError:\n    import one",
        {"one.py": ""},
        ["one.py"],
    ),
    "import_module": (
        "import importlib\nimportlib.import_module('helper')",
        {"helper.py": ""},
        ["helper.py"],
    ),
    "__import__": ("__import__('helper')", {"helper.py": ""}, ["helper.py"]),
    "package": ("import pkg", PKG, ["pkg/__init__.py"]),
    "submodule": ("import pkg.sub", PKG, ["pkg/__init__.py", "pkg/sub.py"]),
    "from package": ("from pkg import sub, name", PKG, ["pkg/__init__.py", "pkg/sub.py"]),
    "from subpackage": (
        "from pkg.deep.leaf import y",
        PKG,
        [
            *("pkg/__init__.py", "pkg/deep/__init__.py"),
            *("pkg/deep/leaf.py", "pkg/deep/twig.py", "pkg/sub.py"),
        ],
    ),
    "star": (
        "from pkg import *",
        {**PKG, "pkg/__init__.py": "__all__ = ['sub']"},
        ["pkg/__init__.py", "pkg/sub.py"],
    ),
    "dynamic in a package": (
        "import pkg",
        {
            "pkg/__init__.py": "import importlib\ndef f(n):\n    importlib.import_module(n)",
            "pkg/one.py": "",
            "pkg/deep/two.py": "",
            "else.py": "",
        },
        ["pkg/__init__.py", "pkg/deep/two.py", "pkg/one.py"],
    ),
    "namespace package": ("from space.tool import f", {"space/tool.py": ""}, ["space/tool.py"]),
    "sys.path": (
        "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))\n"
        "import tool\nfrom kit import part",
        {"lib/tool.py": "", "lib/kit/__init__.py": "from .part import x", "lib/kit/part.py": ""},
        ["lib/kit/__init__.py", "lib/kit/part.py", "lib/tool.py"],
    ),
    "framework and standard library": (
        "import os.path, json\nfrom dispel4py.base import IterativePE\nimport d4pcwl.errors",
        {"dispel4py/base.py": ""},
        [],
    ),
}


@pytest.mark.parametrize(("text", "files", "expected"), IMPORTS.values(), ids=IMPORTS)
def test_local_modules(read: Read, text: str, files: dict[str, str], expected: list[str]) -> None:
    found = read(text, files)
    assert names(found.modules) == expected
    assert all(module.absolute.is_file() for module in found.modules)
    assert found.faults == ()


def test_a_module_says_who_imports_it(read: Read) -> None:
    (first, second) = read("\nimport a", {"a.py": "import b", "b.py": ""}).modules
    assert (first.file, first.line) == ("wf.py", 2)
    assert (second.file, second.line) == ("a.py", 1)


def test_packages_are_the_installed_ones(read: Read) -> None:
    found = read(
        "import json, pytest\nfrom _pytest.nodes import Item\nimport helper", {"helper.py": ""}
    )
    assert found.packages == ("_pytest", "pytest")
    assert found.faults == ()


MISSING = {
    "plain": ("import json\nimport no_such_one", "no_such_one", (2, 1, "import no_such_one")),
    "in a function": (
        "def f():\n    from no_such import x",
        "no_such",
        (2, 5, "    from no_such import x"),
    ),
    "submodule": ("import pkg.nowhere", "pkg.nowhere", (1, 1, "import pkg.nowhere")),
    "literal call": (
        "from importlib import import_module as import_module\nimport_module('no_such')",
        "no_such",
        (2, 1, "import_module('no_such')"),
    ),
}


@pytest.mark.parametrize(("text", "module", "place"), MISSING.values(), ids=MISSING)
def test_a_missing_module_is_a_fault(
    read: Read, text: str, module: str, place: tuple[int, int, str]
) -> None:
    (fault,) = read(text, PKG).faults
    assert fault.message.startswith(
        f"module '{module}' imported at line {place[0]} is found neither"
    )
    assert (fault.file, fault.line, fault.column, fault.source) == ("wf.py", *place)


GUARDED = [
    "try:\n    import no_such\nexcept ImportError:\n    no_such = None",
    "try:\n    import no_such\nexcept (KeyError, ModuleNotFoundError):\n    pass",
    "try:\n    import pkg.no_such\nexcept Exception:\n    pass",
    "try:\n    import no_such\nexcept:\n    import no_such_either",
    "import contextlib\nwith contextlib.suppress(ImportError):\n    import no_such",
    "import typing\nif typing.TYPE_CHECKING:\n    import no_such",
]


@pytest.mark.parametrize("text", GUARDED)
def test_an_optional_module_may_be_missing(read: Read, text: str) -> None:
    assert read(text, PKG).faults == ()


def test_other_guards_do_not_help(read: Read) -> None:
    assert len(read("try:\n    import no_such\nexcept KeyError:\n    pass").faults) == 1


def test_a_module_in_the_current_folder_is_not_beside_the_script(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere_helper.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(read("import elsewhere_helper").faults) == 1


def test_above_the_folder_and_hidden_and_dynamic(read: Read) -> None:
    assert "above" in read("from .. import x").faults[0].message
    assert "beside the script" in read("import calendar", {"calendar.py": ""}).notes[0].message
    assert "only known" in read("import importlib\nimportlib.import_module(n)").notes[0].message
    assert "sys.path" in read("import sys\nsys.path.append(n)").notes[0].message


def test_syntax_errors_are_faults(read: Read) -> None:
    (fault,) = read("import bad", {"bad.py": "x = 1\ndef f(:\n    pass\n"}).faults
    assert (fault.file, fault.line, fault.source) == ("bad.py", 2, "def f(:")
    assert fault.column == 7
    assert read("def").faults[0].file == "wf.py"
    assert read("x = 1", {}, at="other.py").faults == ()


# -- data files -------------------------------------------------------------------------------

DATA = {"x.csv": "", "data/x.json": "{}", "data/y.json": "", "README": "", "in/z.txt": ""}
HERE = "import os\nfrom pathlib import Path\nHERE = Path(__file__).resolve().parent\n"
FILES = {
    "open": ("open('x.csv')", ["x.csv"]),
    "open for reading": ("open('x.csv', 'rb')", ["x.csv"]),
    "numpy": ("np.load('data/x.json')", ["data/x.json"]),
    "obspy": ("read('./x.csv')", ["x.csv"]),
    "constant": ("NAME = 'x.csv'\nopen(NAME)", ["x.csv"]),
    "default": ("def f(name='x.csv'): pass", ["x.csv"]),
    "list": ("f(['x.csv', {'k': 'data/y.json'}])", ["data/y.json", "x.csv"]),
    "slash": ("Path(__file__).parent / 'data' / 'x.json'", ["data/x.json"]),
    "slash, in a call": ("open(HERE / 'data' / 'x.json')", ["data/x.json"]),
    "joinpath": ("HERE.joinpath('data', 'x.json').read_text()", ["data/x.json"]),
    "parents": ("Path(__file__).parents[0] / 'x.csv'", ["x.csv"]),
    "join": ("open(os.path.join(os.path.dirname(__file__), 'x.csv'))", ["x.csv"]),
    "join, absolute": (
        "D = os.path.dirname(os.path.abspath(__file__))\nopen(os.path.join(D, 'data', 'x.json'))",
        ["data/x.json"],
    ),
    "named folder": ("D = HERE / 'data'\nopen(D / 'x.json')", ["data/x.json"]),
    "plus": ("open('data/' + 'x.json')", ["data/x.json"]),
    "f-string": ("D = 'data'\nopen(f'{D}/x.json')", ["data/x.json"]),
    "no suffix": ("f('README')", []),
    "no suffix, opened": ("open('README')", ["README"]),
    "absent": ("open('absent.csv')", []),
    "docstring": ("'x.csv'\ndef f():\n    'data/x.json'", []),
    "pattern": ("import glob\nglob.glob('data/*.json')", ["data/x.json", "data/y.json"]),
    "itself and modules": ("import helper\nf('wf.py', 'helper.py')", []),
    "odd text": ("f('a.b' * 9, 'x' * 5000 + '/', '\\0/x.csv', 'x.csv\\n', 'http://x.csv')", []),
    "log": ("self.log('x.csv')\nprint('x.csv')", []),
    "variable name": ("os.environ.get('x.csv')", []),
}


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES)
def test_data_files(read: Read, text: str, expected: list[str]) -> None:
    doc = "" if text.startswith("'") else HERE
    found = read(doc + text, {**DATA, "helper.py": ""})
    assert (names(found.data_files), names(found.data_dirs)) == (expected, [])
    assert all(file.absolute.is_file() for file in found.data_files)


FOLDERS = {
    "listdir": "os.listdir('data')",
    "path": "Path('data').glob('*.json')",
    "join with a variable": "open(os.path.join('data', name))",
    "slash with a variable": "open(HERE / 'data' / name)",
    "named folder": "D = HERE / 'data'\nopen(D / name)",
    "named folder for others": "D = HERE / 'data'",
    "f-string": "open(f'data/{name}.json')",
    "format": "open('data/%s.json' % name)",
    "braces": "open('data/{}.json'.format(name))",
    "literal": "f('data/')",
}


@pytest.mark.parametrize("text", FOLDERS.values(), ids=FOLDERS)
def test_data_folders(read: Read, text: str) -> None:
    found = read(HERE + text, DATA)
    assert (names(found.data_files), names(found.data_dirs)) == ([], ["data"])


WRITES = {
    "open": ("open('out.txt', 'w')", ["out.txt"]),
    "open, mode by name": ("with open('x.csv', mode='a') as f: pass", ["x.csv"]),
    "json": ("json.dump(x, open('out/x.json', 'w'))", ["out/x.json"]),
    "gzip": ("gzip.open('out.gz', 'wb')", ["out.gz"]),
    "path.open": ("Path('out.txt').open('w')", ["out.txt"]),
    "write_text": ("Path('out.txt').write_text('x.y')", ["out.txt"]),
    "named path": ("P = Path('out.txt')\nP.write_text('')", ["out.txt"]),
    "pandas": ("df.to_csv('x.csv')", ["x.csv"]),
    "matplotlib": ("fig.savefig('a.png'); plt.savefig(fname='b.png')", ["a.png", "b.png"]),
    "numpy": ("np.save('a.npy', x); np.savetxt('b.txt', x)", ["a.npy", "b.txt"]),
    "obspy": ("stream.write('a.mseed', format='MSEED')", ["a.mseed"]),
    "numpy, its suffix": ("np.save('a.SAC', x); np.savez('b', x=x)", ["a.SAC.npy", "b.npz"]),
    "either": (
        "def f():\n    try:\n        n = 'a.txt'\n    except OSError:\n        n = 'b.txt'\n"
        "    open(n, 'w')",
        ["a.txt", "b.txt"],
    ),
    "h5py": ("h5py.File('a.h5', 'w')", ["a.h5"]),
    "copy": ("shutil.copy(name, 'b.txt')", ["b.txt"]),
    "log file": ("logging.basicConfig(filename='run.log')", ["run.log"]),
    "beside the script": ("(HERE / 'out' / 'a.txt').write_text('')", ["out/a.txt"]),
    "written, then read": ("open('x.csv', 'w')\nopen('x.csv')", ["x.csv"]),
    "self.write": ("self.write('output', x)", []),
    "folder made": ("os.makedirs('in', exist_ok=True)", []),
}


@pytest.mark.parametrize(("text", "expected"), WRITES.values(), ids=WRITES)
def test_writes(read: Read, text: str, expected: list[str]) -> None:
    found = read(HERE + text, DATA)
    assert names(found.writes) == expected
    # What is added to is needed where it runs; what is written anew is not.
    added = ["x.csv"] if "mode='a'" in text else []
    assert (names(found.data_files), found.data_dirs) == (added, ())


NOTES = {
    "outside": ("open('../beside.txt')", "points outside of the script's folder"),
    "outside, from __file__": ("open(HERE.parent / 'beside.txt')", "outside the script's folder"),
    "unknown output": ("open(f'{i}', 'w')", "only known when it runs: f'{i}'"),
    "absolute output": ("open('/data/out.txt', 'w')", "writes /data/out.txt"),
}


@pytest.mark.parametrize(("text", "message"), NOTES.values(), ids=NOTES)
def test_notes(read: Read, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "beside.txt").write_text("")
    found = read(HERE + text)
    (note,) = found.notes
    assert message in note.message
    assert (note.file, note.line) == ("wf.py", 4)
    assert found.data_files == ()
    assert not any(written.path for written in found.writes)


def test_absolute_and_large_files_are_notes(read: Read, tmp_path: Path) -> None:
    place = tmp_path / "far.csv"
    place.write_text("")
    assert "absolute path" in read(f"open({str(place)!r})").notes[0].message
    assert read("open('/dev/null'); open('/')").notes == ()
    big = tmp_path / "work" / "big.bin"
    big.touch()
    os.truncate(big, 101 * 1024 * 1024)
    found = read("open('big.bin')")
    assert found.data_files == ()
    assert found.notes[0].message == "big.bin has 101 MB; it is not staged, make it an input"


def test_data_of_a_helper_is_found_from_its_own_file(read: Read) -> None:
    helper = "from pathlib import Path\nT = (Path(__file__).parent / 'table.csv').read_text()"
    up = "import os\nopen(os.path.join(os.path.dirname(__file__), '..', 'x.csv'))"
    files = {"pkg/__init__.py": up, "pkg/a.py": helper, "pkg/table.csv": "", "x.csv": ""}
    found = read("import pkg.a", files)
    assert [(f.path, f.file, f.line) for f in found.data_files] == [
        ("pkg/table.csv", "pkg/a.py", 2),
        ("x.csv", "pkg/__init__.py", 2),
    ]


# -- environment ------------------------------------------------------------------------------

VARIABLES = {
    "subscript": ("import os\nos.environ['X']", ("X", None, True)),
    "get": ("import os\nos.environ.get('X')", ("X", None, False)),
    "get with default": ("import os\nos.environ.get('X', 'a')", ("X", "a", False)),
    "getenv": ("import os\nos.getenv('X', default='a')", ("X", "a", False)),
    "number": ("import os\nint(os.getenv('X', 4))", ("X", "4", False)),
    "setdefault": ("import os\nos.environ.setdefault('X', '1')", ("X", "1", False)),
    "in": ("import os\nprint('X' in os.environ)", ("X", None, False)),
    "pop": ("import os\nos.environ.pop('X')", ("X", None, True)),
    "alias of os": ("import os as o\no.environ['X']", ("X", None, True)),
    "alias of environ": ("from os import environ as e\ne['X']", ("X", None, True)),
    "alias of getenv": ("from os import getenv as g\ng('X')", ("X", None, False)),
    "bound": ("import os\nenv = os.environ\nenv['X']", ("X", None, True)),
    "named": ("import os\nKEY = 'X'\nos.environ[KEY]", ("X", None, True)),
    "guarded by in": (
        "import os\nif 'X' in os.environ:\n    os.environ['X']",
        ("X", None, False),
    ),
    "guarded by not in": (
        "import os\nif 'X' not in os.environ:\n    raise SystemExit\nelse:\n    os.environ['X']",
        ("X", None, False),
    ),
    "guarded by KeyError": (
        "import os\ntry:\n    os.environ['X']\nexcept KeyError:\n    pass",
        ("X", None, False),
    ),
    "set by the script": ("import os\nos.environ['X'] = '1'\nos.environ['X']", ("X", None, False)),
    "both": ("import os\nos.getenv('X', 'a')\nos.environ['X']", ("X", "a", True)),
    "expandvars": ("import os\nos.path.expandvars('$X/y')", ("X", None, False)),
}


@pytest.mark.parametrize(("text", "expected"), VARIABLES.values(), ids=VARIABLES)
def test_environment(read: Read, text: str, expected: tuple[str, str | None, bool]) -> None:
    (found,) = read(text).environment
    assert (found.name, found.default, found.required) == expected
    assert (found.standard, found.file) == (False, "wf.py")


def test_what_is_no_read_of_a_variable(read: Read) -> None:
    text = "import os\nos.environ['X'] = '1'\nd = {}\nd['Y']\nd.get('Z')\ndel os.environ['X']"
    assert read(text).environment == ()


def test_environment_of_helpers_standard_names_and_unknown_names(read: Read) -> None:
    helper = "from os import environ\nenviron['TOKEN']\nenviron['TMPDIR']"
    found = read("import os, helper\nos.getenv('TOKEN', 'x')\nos.environ[n]", {"helper.py": helper})
    assert [(v.name, v.default, v.required, v.standard) for v in found.environment] == [
        ("TMPDIR", None, True, True),
        ("TOKEN", "x", True, False),
    ]
    assert (found.environment[1].file, found.environment[1].line) == ("wf.py", 2)
    assert "only known when it runs: n" in found.notes[0].message


# -- the whole --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "title", "doc"),
    [
        ('"""Counts words.\n\n   More\n   text.\n"""', "Counts words.", "More\ntext."),
        ('"""\nOn line two.\n"""', "On line two.", ""),
        ("x = 1", "", ""),
    ],
)
def test_title_and_doc(read: Read, text: str, title: str, doc: str) -> None:
    found = read(text)
    assert (found.title, found.doc) == (title, doc)


def test_nothing_is_run_and_the_order_is_fixed(read: Read) -> None:
    text = "import b, a\nraise SystemExit\nopen('y.csv'); open('x.csv')\n"
    files = {"a.py": "raise SystemExit", "b.py": "1 / 0", "x.csv": "", "y.csv": ""}
    found = read(text, files)
    assert names(found.modules) == ["a.py", "b.py"]
    assert names(found.data_files) == ["x.csv", "y.csv"]
    assert read(text, files) == found
