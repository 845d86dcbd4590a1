"""How a graph's items flow: the plan, the instances, the channels between processes, and the
stream files where a stream rests. May import ``workflow`` and ``errors``; knows nothing of CWL."""
