"""``dispel4py.new.mappings``: the modules of the mappings."""

from d4pcwl.runtime.job import MAPPINGS

_MODULES = {
    "simple": "simple_process",
    "multi": "multi_process",
    "mpi": "mpi_process",
    "redis": "dynamic_redis",
    "dyn_multi": "new_dynamic",
    "dyn_auto_multi": "new_dynamic_auto",
    "dyn_redis": "new_dynamic_redis",
    "dyn_auto_redis": "new_dynamic_redis_auto",
    "hybrid_redis": "new_hybrid_redis",
}

config = {name: f"dispel4py.new.{module}" for name, module in _MODULES.items() if name in MAPPINGS}
"""From a mapping's name to the module whose ``process`` runs a graph with it."""

__all__ = ["config"]
