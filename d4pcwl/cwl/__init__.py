"""CWL in and out: what a script declares, the emitted documents, the imported ones. May import
``runtime``, ``streams`` and ``workflow``; only ``cli`` and the package's public names import from
here."""
