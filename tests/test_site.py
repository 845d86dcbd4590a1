"""The documentation site: builds without a warning, needs no network, has all public names."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import d4pcwl

pytest.importorskip("sphinx")

ROOT = Path(__file__).parent.parent
UPSTREAM = ["base", "core", "utils", "visualisation", "workflow_graph"]
UPSTREAM += ["new.aggregate", "new.logger", "new.mappings", "new.monitoring"]
UPSTREAM += ["new.processor", "new.simple_process"]
PUBLIC = [("d4pcwl", name) for name in d4pcwl.__all__] + [
    (f"dispel4py.{module}", name)
    for module in UPSTREAM
    for name in importlib.import_module(f"dispel4py.{module}").__all__
]
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\s(?:src|srcset)=["'](?:https?:)?//[^>]*"""
    r"""|<link(?![^>]*rel=["']canonical)[^>]*\shref=["'](?:https?:)?//[^>]*"""
    r"""|(?:url\(|@import\s+)["']?(?:https?:)?//[^;)]*""",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``scripts/docs`` does."""
    folder = tmp_path_factory.mktemp("site")
    line = next(
        line
        for line in (ROOT / "scripts" / "docs").read_text().splitlines()
        if line.startswith("sphinx-build ")
    )
    places = {'"$@"': "", "build/doctrees": str(folder / "trees"), "build/docs": str(folder / "to")}
    for place, own in places.items():
        assert place in line
        line = line.replace(place, own)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *line.split()[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "to"


def documented(site: Path) -> list[Any]:
    """The objects that the reference describes."""
    from sphinx.util.inventory import InventoryFile

    with open(site / "objects.inv", "rb") as inventory:
        kinds = InventoryFile.load(inventory, "", lambda base, uri: uri)
    kinds = {kind: found for kind, found in kinds.items() if kind.startswith("py:")}
    names = [name for kind, found in kinds.items() if kind != "py:module" for name in found]
    found = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        if module in ("d4pcwl", *(f"dispel4py.{upstream}" for upstream in UPSTREAM)):
            found.append(getattr(importlib.import_module(module), attribute))
    return found


def test_the_reference_has_every_public_name(site: Path) -> None:
    described = {id(one) for one in documented(site)}
    public = {
        f"{module}.{name}": getattr(importlib.import_module(module), name)
        for module, name in PUBLIC
    }
    assert [
        name for name, one in public.items() if callable(one) and id(one) not in described
    ] == []


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=".".join)
def test_public_names_have_docstrings(module: str, name: str) -> None:
    one = getattr(importlib.import_module(module), name)
    if inspect.isclass(one) or inspect.isroutine(one):
        assert one.__doc__


def test_pages_fetch_nothing_from_the_network(site: Path) -> None:
    pages = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(pages) > 20
    fetched = {
        path.name: found
        for path in pages
        if (found := _FETCHED.findall(path.read_text(encoding="utf-8")))
    }
    assert fetched == {}


def test_the_first_page_leads_to_all_pages(site: Path) -> None:
    first = (site / "docs" / "index.html").read_text(encoding="utf-8")
    for page in (*ROOT.glob("docs/*.md"), ROOT / "README.md"):
        assert f"{page.stem}.html" in first, page
