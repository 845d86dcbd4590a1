"""Items in files: codecs, stream files, JSON lines, and output files that are either complete or
absent. Knows nothing of graphs; ``runtime``, ``cwl`` and ``cli`` import from here."""
