"""Reading a script without running it: which state its PEs keep, which files they open and write,
and which modules and environment variables they use. Only ``workflow`` and ``cwl`` import from
here."""
