"""The dynamic mappings, in which any free worker runs PEs without state: the workers, and the
parent that distributes tasks. The Redis mappings use the code of the workers, too."""
