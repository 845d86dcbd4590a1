"""The dynamic mappings, in which PEs without state run wherever there is time: a worker's side, and
the parent that shares out tasks. The Redis kinds use the worker's side, too."""
