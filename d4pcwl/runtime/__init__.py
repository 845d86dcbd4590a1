"""How a graph's items flow: the plan, the instances, the channels between processes, and the
results. May import ``streams``, ``workflow`` and ``errors``; knows nothing of CWL."""
