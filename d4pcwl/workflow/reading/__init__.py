"""Reading a script without running it: what its PEs keep, open, write, import and ask the
environment for. Only ``workflow`` and ``cwl`` import from here."""
