"""How Sphinx makes the documentation site; ``scripts/docs`` runs it.

The pages are Markdown that reads well on a code host, too, so they are taken from where they lie in
the checkout, and the menu is made of the lists of links in ``docs/index.md``.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import d4pcwl  # makes dispel4py's names importable, for the reference

project = "d4pcwl"
author = "The d4pcwl developers"
version = release = d4pcwl.__version__
html_title = f"d4pcwl {version}"
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # browsers do not let pages of the file system fetch others

root_doc = "docs/index"
include_patterns = [
    *("*.md", "docs/**.md", "docs/reference.rst"),
    *(
        "benchmarks/README.md",
        "conformance/**.md",
        "cwl_templates/README.md",
        "examples/**README.md",
    ),
]
exclude_patterns = ["**/.*", "build", "demo-output"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
myst_enable_extensions = ["html_image"]
suppress_warnings = ["toc.not_included"]  # tables that other pages lead to
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_static_path, html_css_files = ["static"], ["site.css"]

_LINK = re.compile(r"^- \[(.+?)\]\((.+?)\)", re.MULTILINE)


def _with_menu(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to the first page what makes the menu: for each of its lists, the pages it leads to."""
    if page != root_doc:
        return
    for section in re.split(r"^(?=## )", source[0], flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0].removeprefix("## ")
        pages = "\n".join(f"{text} <{page}>" for text, page in _LINK.findall(section))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title.strip()}\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _with_menu)
