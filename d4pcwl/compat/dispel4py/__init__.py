"""dispel4py's import names, given by d4pcwl."""
