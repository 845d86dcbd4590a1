"""What a workflow is: PEs, ports, groupings, the graph, composites, the cut into stages, and the
loading of a script. The ground floor: anyone may import from here; nothing here knows how a graph
runs or what CWL is."""
