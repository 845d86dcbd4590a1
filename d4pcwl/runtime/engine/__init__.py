"""What every mapping shares: the plan, the instances of a process and how they call each other, and
the order of items. Knows nothing of how items travel between processes."""
