"""``dispel4py.core``: the base of all PEs, and the keys of connection dictionaries."""

from d4pcwl.workflow.pe import DESCRIPTION, GROUPING, META, NAME, TYPE, WRITER, GenericPE

__all__ = ["DESCRIPTION", "GROUPING", "META", "NAME", "TYPE", "WRITER", "GenericPE"]
