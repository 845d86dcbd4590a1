"""CWL: declarations in a script, emitted documents, imported documents. May import
``runtime``, ``streams`` and ``workflow``; only ``cli`` and the package's public names import from
here."""
