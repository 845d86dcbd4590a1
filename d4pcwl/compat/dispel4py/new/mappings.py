"""``dispel4py.new.mappings``: the modules of the mappings."""

from d4pcwl.runtime.job import MAPPINGS, UPSTREAM_MODULES

config = {
    name: f"dispel4py.new.{module}" for name, module in UPSTREAM_MODULES.items() if name in MAPPINGS
}
"""From a mapping's name to the module whose ``process`` runs a graph with it."""

__all__ = ["config"]
