"""What rests in a file: codecs, stream files, JSON lines, and files that are there at the end or
not at all. Knows nothing of graphs; ``runtime``, ``cwl`` and ``cli`` import from here."""
