"""What a workflow is: PEs, ports, groupings, the graph, composites, the cut into stages, and the
loading of a script. Every other room may import from here. Nothing here knows how a graph runs or
what CWL is."""
