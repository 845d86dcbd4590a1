"""dispel4py's import names, given by d4pcwl; other modules are upstream's, if it is installed."""

from d4pcwl.compat import folders_of_upstream

__path__ += folders_of_upstream()
