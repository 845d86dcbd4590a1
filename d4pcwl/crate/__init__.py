"""Runs as RO-Crates: what ran, from what, by whom, on two levels: steps, and the PEs inside them.
Only ``cli`` imports it."""
