"""The commands: their arguments and their messages, and nothing else."""
