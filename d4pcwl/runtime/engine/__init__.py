"""Code that all mappings share: the plan, the instances of a process and their calls, and the order
of items. It knows nothing of how items are sent between processes."""
