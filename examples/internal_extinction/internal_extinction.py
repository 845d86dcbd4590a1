"""Internal extinction of galaxies

Asks a cone-search service of the Virtual Observatory for the shape of each galaxy, and computes how
much of its blue light is absorbed by its own dust.
"""

from __future__ import annotations

import math
import os
import re
from itertools import pairwise
from typing import Any

from dispel4py.workflow_graph import WorkflowGraph

from d4pcwl.library import Fetch, Map, ReadCSV, WriteCSV

HYPERLEDA = "https://vizier.cds.unistra.fr/viz-bin/conesearch/VII/237/pgc?"
"""The catalogue of galaxies of HyperLEDA (Paturel et al. 2003, A&A 412, 45), at the CDS."""

STAGES = {"E": -5, "E-S0": -3, "S0": -2, "S0-a": 0, "Sa": 1, "Sab": 2, "Sb": 3, "Sbc": 4}
STAGES |= {"S0a": 0, "Sc": 6, "Scd": 7, "Sd": 8, "Sm": 9, "I": 10, "Irr": 10}
"""The numbers T of de Vaucouleurs' types, as HyperLEDA has them."""

MAIN = {"POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"}
"""By these UCDs a cone search marks the columns of the position, in degrees."""


def stage(kind: str) -> int | None:
    """The number T of a type, with a bar or without; None where the type is uncertain."""
    return STAGES.get(re.sub("^(S|I)(AB|A|B)", r"\1", kind))


def absorbed(stage: float, logr25: float) -> float:
    """The internal extinction in B, in mag: 0 for a galaxy seen face-on.

    After Bottinelli et al. (1995, A&A 296, 64), with the share of the bulge in the light by Simien
    and de Vaucouleurs (1986, ApJ 302, 564), as in HyperLEDA (parameter ``ai``).

    :param stage: de Vaucouleurs' type T
    :param logr25: log10 of the ratio of the axes, major to minor, at 25 mag/arcsec²
    """
    bulge = min(1.0, 0.754 * 10 ** (-0.2 * stage))
    steepness = 0.12 - 0.007 * stage if stage < 0 else 0.094  # d log D / d (surface brightness)
    opacity = 0.04  # d log D / d log R
    exponent = 2 * opacity * (1 + 0.2 / steepness) - 1
    return 2.5 * math.log10(1 / (bulge + (1 - bulge) * 10 ** (logr25 * exponent)))


def distance(ra: float, dec: float, other_ra: float, other_dec: float) -> float:
    """Between two positions on the sky, by the haversine formula; all in degrees."""
    ra, dec, other_ra, other_dec = map(math.radians, (ra, dec, other_ra, other_dec))
    a, b = math.sin((dec - other_dec) / 2), math.sin((ra - other_ra) / 2)
    root = math.sqrt(a * a + math.cos(dec) * math.cos(other_dec) * b * b)
    return math.degrees(2 * math.asin(min(1.0, root)))


def ask(galaxy: dict[str, Any], service: str, radius: float) -> dict[str, Any]:
    """A galaxy with the URL of its cone search, for all columns."""
    joint = "" if service[-1] in "?&" else "&" if "?" in service else "?"
    position = f"RA={galaxy['ra']}&DEC={galaxy['dec']}&SR={radius}&VERB=3"
    return {**galaxy, "url": f"{service}{joint}{position}"}


def read_answer(galaxy: dict[str, Any]) -> dict[str, Any]:
    """A galaxy with its type and axis ratio; None where the service does not know them.

    :raises ValueError: the answer of the service is an error; it is not kept
    """
    from astropy.io.votable import parse

    try:
        votable = parse(galaxy["path"], verify="ignore")  # many services are not quite strict
        raise_error(votable)
        found = nearest(votable, galaxy["ra"], galaxy["dec"])
    except ValueError as error:
        os.unlink(galaxy["path"])
        raise ValueError(f"{galaxy['url']}: {error}") from None
    kind, ratio = found.get("MType"), found.get("logR25")
    known = {name: value for name, value in galaxy.items() if name not in ("url", "path")}
    return {**known, "type": kind or None, "logr25": None if ratio is None else round(ratio, 4)}


def raise_error(votable: Any) -> None:
    """Raise the error that a VOTable reports, in one of the ways that the standards allow."""
    for part in [votable, *votable.resources]:
        for said in [*part.infos, *part.params]:
            if said.name == "Error":  # Simple Cone Search
                raise ValueError(f"the service says: {said.value}")
            if (said.name, said.value) == ("QUERY_STATUS", "ERROR"):  # DALI
                raise ValueError(f"the service says: {said.content}")


def nearest(votable: Any, ra: float, dec: float) -> dict[str, Any]:
    """The object of a VOTable that is nearest to a position, from column to value; {} if none."""
    found: dict[float, dict[str, Any]] = {}
    for table in votable.iter_tables():
        position = [column for column, field in enumerate(table.fields) if field.ucd in MAIN]
        if len(position) != 2:
            raise ValueError("no two columns are marked as the position")
        for row in table.array.tolist():
            there = distance(ra, dec, *(row[column] for column in position))
            found[there] = dict(zip(table.array.dtype.names, row, strict=True))
    return found[min(found)] if found else {}


def work_out(galaxy: dict[str, Any]) -> dict[str, Any]:
    """A galaxy with T and its internal extinction; None where they are not known."""
    t = stage(galaxy["type"] or "")
    known = t is not None and galaxy["logr25"] is not None
    ai = round(absorbed(t, galaxy["logr25"]), 3) if known else None
    return {**galaxy, "t": t, "ai": ai}


def build(service: str = HYPERLEDA, radius: float = 0.001) -> WorkflowGraph:
    """Compute the internal extinction of galaxies

    :param service: the URL of a cone search of HyperLEDA's catalogue
    :param radius: the largest distance of a galaxy from its position, in degrees
    """
    pes = {
        "galaxies": ReadCSV(),
        "ask": Map(ask, service=service, radius=radius),
        "fetch": Fetch("votables"),
        "read_answer": Map(read_answer),
        "work_out": Map(work_out),
        "write": WriteCSV("extinction.csv"),
    }
    graph = WorkflowGraph()
    for name, pe in pes.items():
        pe.name = name
    for source, target in pairwise(pes.values()):
        graph.connect(source, "output", target, "input")
    return graph
