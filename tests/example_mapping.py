"""The mapping that ``docs/adding-a-mapping.md`` makes, installed as a package would install it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

NAME = "threads"
PAGE = Path(__file__).parent.parent / "docs" / "adding-a-mapping.md"


def install(folder: Path) -> None:
    """Put it, and its entry point, into a folder for ``sys.path``."""
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n# threads.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (points,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (folder / "threads.py").write_text(code, encoding="utf-8")
    ((group, named),) = tomllib.loads(points)["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in named.items())]
    write_entry_points(folder, "threads", lines)


def write_entry_points(folder: Path, package: str, lines: Iterable[str]) -> None:
    """Make the metadata of a package with entry points."""
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
