"""``dispel4py.new.mappings``: the modules of the mappings."""

from d4pcwl.runtime.mappings.registry import upstream_modules

config = {mapping: f"dispel4py.new.{module}" for module, mapping in upstream_modules().items()}
"""From a mapping's name to the module whose ``process`` runs a graph with it."""

__all__ = ["config"]
