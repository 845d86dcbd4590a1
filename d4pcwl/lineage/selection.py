"""Which items are recorded: the configuration of a record, in the terms of S-PROV.

The terms are those that users of dispel4py know (``s-prov:sel-rules``, ``s-prov:componentsType``,
…; Spinuso et al., "Active provenance for data-intensive workflows: engaging users and developers",
eScience 2019, doi:10.1109/eScience.2019.00077), and some of our own, with ``d4p:`` before them.
``docs/provenance.md`` lists all.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from d4pcwl.errors import UsageError, nearest

TYPES = "s-prov:componentsType"
RULES = "s-prov:sel-rules"
RECORD = "d4p:record"
ONE_IN = "d4p:one-in"
ACTIVITIES = "d4p:activities"
RUN_ID = "s-prov:run-id"

ABOUT = (
    "provone:User",
    "s-prov:description",
    "s-prov:workflowName",
    "s-prov:workflowType",
    "s-prov:workflowId",
    RUN_ID,
    "s-prov:session-id",
    "s-prov:system-id",
    "s-prov:WFExecutionInputs",
    "s-prov:WFExecutionsInputs",
)
"""Terms whose values are copied into the description of the run."""

_REFUSED = {
    "s-prov:transfer-rules": "items are not transferred; write them to a file in a PE",
    "s-prov:mapping": "the mapping is that of the run; leave it out",
}

_PATTERNS = {
    "SingleInvocationFlow": False,
    "ForceStateless": False,
    "AccumulateFlow": True,
    "ASTGrouped": True,
}
"""S-PROV's pattern types: whether an item derives from all inputs since the last write."""

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$in": lambda value, values: value in values,
}

EACH, SUMMED = "each", "by PE"

Rule = tuple[str, str, Any]
"""A term, the name of an operator, and what it is compared with."""


@dataclass(frozen=True)
class Selection:
    """What is recorded.

    :param pes: the PEs, by name or id, whose items are recorded; None: all
    :param one_in: of the items of sources, and all that comes from them, one in so many
    :param rules: by PE, what an item must fulfil
    :param patterns: by PE, whether its items derive from all inputs since the last write, where
        that is said
    :param clusters: by PE, the part of the workflow that it belongs to
    :param activities: :data:`EACH` invocation, or :data:`SUMMED` up by PE
    :param about: the description of the run
    """

    pes: frozenset[str] | None = None
    one_in: int = 1
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    patterns: Mapping[str, bool] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)
    activities: str = EACH
    about: Mapping[str, Any] = field(default_factory=dict)

    def check_for_stage(self) -> None:
        """Check that this can be recorded of one stage of a graph.

        :raises UsageError: it cannot
        """
        if self.one_in > 1:
            raise UsageError(
                f"--provenance-config: {ONE_IN} is for a whole graph: a step does not know which "
                "items were chosen in the steps before it"
            )

    def of_ids(self, names: Mapping[str, str]) -> Selection:
        """The same by the ids of PEs.

        :param names: from ids to names
        :raises UsageError: there is no such PE
        """
        unknown = {
            name
            for name in (*(self.pes or ()), *self.rules, *self.patterns, *self.clusters)
            if name not in names and name not in names.values()
        }
        if unknown:
            raise UsageError(
                "; ".join(
                    f"--provenance-config: no PE is called {name!r}{nearest(name, names.values())}"
                    for name in sorted(unknown)
                )
            )

        def ids(name: str) -> Collection[str]:
            return [name] if name in names else [i for i, told in names.items() if told == name]

        def by_id(of: Mapping[str, Any]) -> dict[str, Any]:
            return {pe: value for name, value in of.items() for pe in ids(name)}

        pes = None if self.pes is None else frozenset(i for name in self.pes for i in ids(name))
        return Selection(
            pes,
            self.one_in,
            by_id(self.rules),
            by_id(self.patterns),
            by_id(self.clusters),
            self.activities,
            self.about,
        )


def fulfils(rules: tuple[Rule, ...], metadata: Mapping[str, Any], item: Any) -> bool:
    """Whether an item fulfils all rules, by its metadata, or else by what is in itself."""
    for term, name, limit in rules:
        if term in metadata:
            value = metadata[term]
        elif isinstance(item, Mapping) and term in item:
            value = item[term]
        else:
            return False
        try:
            if not OPERATORS[name](value, limit):
                return False
        except (TypeError, ValueError):  # they cannot be compared
            return False
    return True


def read_config(config: Mapping[str, Any] | str | os.PathLike[str] | None) -> Any:
    """The data of a configuration.

    :param config: a text is JSON, or the path of a file
    :raises D4pcwlError: the file cannot be read, or is not valid
    """
    from d4pcwl.workflow.texts import parse_json, read_file

    if isinstance(config, str) and config.lstrip().startswith("{"):
        return parse_json(config, "--provenance-config")
    if isinstance(config, (str, os.PathLike)):
        return read_file(os.fspath(config))
    return {} if config is None else config


def parse_selection(given: Any) -> Selection:
    """Read a configuration.

    >>> parse_selection({"s-prov:sel-rules": {"pick": {"rules": {"magnitude": {"$gt": 5}}}}}).rules
    {'pick': (('magnitude', '$gt', 5),)}

    :raises UsageError: names all faults in it
    """
    if not isinstance(given, Mapping):
        raise UsageError("--provenance-config: expected a JSON object of terms")
    faults: list[str] = []
    known = {*ABOUT, *_REFUSED, TYPES, RULES, RECORD, ONE_IN, ACTIVITIES, "s-prov:save-mode"}
    for term in given:
        if term in _REFUSED and given[term]:
            faults.append(f"{term} is not supported: {_REFUSED[term]}")
        elif term not in known:
            faults.append(f"there is no term {term!r}{nearest(str(term), known)}")
    if given.get("s-prov:save-mode", "file") != "file":
        faults.append(
            f"s-prov:save-mode is {given['s-prov:save-mode']!r}: the record is kept in files, so "
            'use "file"'
        )
    pes = given.get(RECORD)
    if pes is not None and not (isinstance(pes, list) and all(isinstance(p, str) for p in pes)):
        faults.append(f"{RECORD}: expected a list of names of PEs, not {pes!r}")
        pes = None
    one_in = given.get(ONE_IN, 1)
    if type(one_in) is not int or one_in < 1:
        faults.append(f"{ONE_IN}: expected a whole number from 1, not {one_in!r}")
    activities = given.get(ACTIVITIES, EACH)
    if activities not in (EACH, SUMMED):
        faults.append(f'{ACTIVITIES}: expected "{EACH}" or "{SUMMED}", not {activities!r}')
    patterns, clusters = _types(given.get(TYPES) or {}, faults)
    rules = dict(_rules(given.get(RULES) or {}, faults))
    if faults:
        raise UsageError("\n".join(f"--provenance-config: {fault}" for fault in faults))
    return Selection(
        None if pes is None else frozenset(pes),
        one_in,
        rules,
        patterns,
        clusters,
        activities,
        {term: given[term] for term in ABOUT if given.get(term) is not None},
    )


def _types(given: Any, faults: list[str]) -> tuple[dict[str, bool], dict[str, str]]:
    patterns: dict[str, bool] = {}
    clusters: dict[str, str] = {}
    if not isinstance(given, Mapping):
        faults.append(f"{TYPES}: expected an object from PE to its types")
        return patterns, clusters
    for pe, told in given.items():
        if not isinstance(told, Mapping):
            faults.append(f"{TYPES}: expected an object for {pe}")
            continue
        for term, value in told.items():
            if term == "s-prov:prov-cluster":
                clusters[pe] = str(value)
            elif term == "s-prov:type":
                names = value if isinstance(value, (list, tuple)) else [value]
                for name in (part.strip() for text in names for part in str(text).split(",")):
                    if name in _PATTERNS:
                        patterns[pe] = _PATTERNS[name]
                    elif name != "ProvenanceType":
                        faults.append(
                            f"{TYPES}: the type {name!r} of {pe} is not known; known are "
                            f"{', '.join(_PATTERNS)}. For other derivations use "
                            "write(..., derived_from=[...]); for metadata give the PE a method "
                            "extractItemMetadata(data, port)"
                        )
            else:
                faults.append(
                    f"{TYPES}: {term} of {pe} is not supported; use write(..., derived_from=[...])"
                )
    return patterns, clusters


def _rules(given: Any, faults: list[str]) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    if not isinstance(given, Mapping):
        faults.append(f"{RULES}: expected an object from PE to its rules")
        return
    for pe, told in given.items():
        rules = told.get("rules") if isinstance(told, Mapping) else None
        if not isinstance(rules, Mapping) or len(told) != 1:
            faults.append(f'{RULES}: expected {{"rules": {{TERM: {{OPERATOR: VALUE}}}}}} for {pe}')
            continue
        found: list[Rule] = []
        for term, tests in rules.items():
            if not isinstance(tests, Mapping) or not tests:
                faults.append(f"{RULES}: expected an object of operators for {term} of {pe}")
                continue
            for name, limit in tests.items():
                if name not in OPERATORS:
                    faults.append(
                        f"{RULES}: {pe}: there is no operator {name!r}; use one of "
                        f"{', '.join(OPERATORS)}"
                    )
                elif name == "$in" and not isinstance(limit, list):
                    faults.append(f"{RULES}: {pe}: $in of {term} needs a list")
                else:
                    found.append((term, name, limit))
        yield pe, tuple(found)
