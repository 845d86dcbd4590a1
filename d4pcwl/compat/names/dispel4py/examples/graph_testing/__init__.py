"""``dispel4py.examples.graph_testing``: PEs, and graphs of them, to try mappings with."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
