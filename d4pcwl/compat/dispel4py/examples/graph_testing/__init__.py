"""``dispel4py.examples.graph_testing``: PEs to try graphs with; upstream's graphs follow."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
