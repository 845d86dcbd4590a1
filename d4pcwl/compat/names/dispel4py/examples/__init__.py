"""``dispel4py.examples``: example graphs; upstream's other examples, where it is installed."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
