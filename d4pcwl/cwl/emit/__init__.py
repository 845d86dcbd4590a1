"""The documents that the compiler makes: tools, Workflows, and their text."""
