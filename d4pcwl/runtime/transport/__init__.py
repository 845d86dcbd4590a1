"""How items travel between processes: batches, frames, shared memory, pipes."""
