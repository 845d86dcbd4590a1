"""The static mappings, in which every instance stays in one process: the loop of a worker, and the
parent that watches workers."""
