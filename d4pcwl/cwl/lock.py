"""The exact versions of the packages that a workflow imports, as they are installed here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any
from urllib.parse import urlsplit

PYTHON = ".".join(map(str, sys.version_info[:2]))
"""The version of Python, as in the names of images."""


def distributions_of(modules: Iterable[str]) -> set[str]:
    """The names under which top-level modules are installed."""
    wanted = set(modules)
    if not wanted:
        return set()
    from importlib.metadata import packages_distributions

    known = packages_distributions()
    return {known[module][0] for module in wanted if module in known}


def version_of(name: str) -> str:
    """The version of a distribution; our own is always known, also if it is not installed."""
    if name == "d4pcwl":
        return str(sys.modules["d4pcwl"].__version__)
    return distribution(name).version


def lock_text(names: Iterable[str]) -> str:
    """The requirements with which pip installs distributions, and all that they depend on, in the
    versions of this machine."""
    lines = [f"# As installed under Python {PYTHON}: pip install -r requirements.lock"]
    ours = f"d4pcwl=={version_of('d4pcwl')}"
    lines += sorted({ours, *map(_line, _closure({"d4pcwl", *names}))}, key=str.lower)
    return "\n".join(lines) + "\n"


def from_folders(names: Iterable[str]) -> list[str]:
    """The distributions, and those that they depend on, that were not installed from an index."""
    return sorted(d.name for d in _closure(names) if _source(d).get("url", "").startswith("file:"))


def _closure(names: Iterable[str]) -> Iterator[Distribution]:
    """Distributions and all that they depend on, as far as it is installed."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    waiting = [(canonicalize_name(name), "") for name in names]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # it is not needed here
        if not extra:
            yield found
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                inner = canonicalize_name(needed.name)
                waiting += [(inner, each) for each in ("", *needed.extras)]


def _line(found: Distribution) -> str:
    """A distribution as a requirement of pip: with its version, or with its source."""
    source = _source(found)
    parts = urlsplit(source.get("url", ""))
    # A password in the URL is left out.
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if "vcs_info" in source:
        made = source["vcs_info"]
        return f"{found.name} @ {made['vcs']}+{url}@{made['commit_id']}"
    if parts.scheme in ("http", "https"):
        return f"{found.name} @ {url}"
    return f"{found.name}=={found.version}"


def _source(found: Distribution) -> dict[str, Any]:
    """Where a distribution was installed from, if not from an index."""
    text = found.read_text("direct_url.json")
    if not text or (found.read_text("INSTALLER") or "").strip() == "conda":
        return {}  # conda's names the folder where the package was built
    source: dict[str, Any] = json.loads(text)
    return source
