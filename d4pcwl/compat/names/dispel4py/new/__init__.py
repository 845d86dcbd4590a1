"""``dispel4py.new``: running graphs; where upstream is installed too, its other modules follow."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
