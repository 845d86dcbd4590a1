"""RO-Crates are validated by rocrate-validator, without a network: the JSON-LD contexts come from
its cache, which is filled here."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

PROFILE = "provenance-run-crate-0.5"
_BIOSCHEMAS = "https://bioschemas.org"
_RUN = "https://w3id.org/ro/terms/workflow-run#"

_IN_1_1 = {
    "ComputationalWorkflow": f"{_BIOSCHEMAS}/ComputationalWorkflow",
    "FormalParameter": f"{_BIOSCHEMAS}/FormalParameter",
    "input": f"{_BIOSCHEMAS}/ComputationalWorkflow#input",
    "output": f"{_BIOSCHEMAS}/ComputationalWorkflow#output",
}
"""Where the context of RO-Crate 1.1 differs from that of 1.3, which the package rocrate has."""

_RUN_TERMS = (
    "ParameterConnection",
    "connection",
    "resourceUsage",
    "sha256",
    "sourceParameter",
    "targetParameter",
)
"""Terms of the profile that crates use."""


def contexts() -> dict[str, Any]:
    """The contexts of a crate, by their URIs."""
    text = resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_text(encoding="utf-8")
    return {
        "https://w3id.org/ro/crate/1.1/context": {
            "@context": {**json.loads(text)["@context"], **_IN_1_1}
        },
        f"{_RUN.rstrip('#')}/context": {"@context": {term: _RUN + term for term in _RUN_TERMS}},
    }


class _Answers(HTTPAdapter):
    """Answers with the contexts, instead of a network."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        raw = HTTPResponse(
            BytesIO(json.dumps(contexts()[str(request.url)]).encode()),
            headers={"Content-Type": "application/ld+json"},
            status=200,
            preload_content=False,
            request_url=request.url,
        )
        return self.build_response(request, raw)


def cache(folder: Path) -> Path:
    """A cache of the validator with the contexts."""
    place = folder / "cache"
    with CachedSession(str(place), backend="sqlite", expire_after=-1) as session:
        session.mount("https://", _Answers())
        for uri in contexts():
            session.get(uri)
    return place


def issues(folder: Path, *crates: Path) -> dict[str, list[str]]:
    """What the validator finds wrong with crates, by their names: the requirements of the profile.

    :param folder: for its cache
    """
    command = [sys.executable, __file__, str(cache(folder)), *map(str, crates)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _main(place: str, *crates: str) -> None:
    """Validate crates; a process of its own, because the validator changes rdflib."""
    from rocrate_validator.services import ValidationSettings, validate

    found = {}
    for crate in crates:
        settings = ValidationSettings(
            rocrate_uri=crate,
            profile_identifier=PROFILE,
            offline=True,
            cache_path=Path(place),
        )
        result = validate(settings)
        found[Path(crate).name] = [
            f"{issue.check.identifier}: {issue.message} {issue.violatingEntity}"
            for issue in result.get_issues()
        ]
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
