"""What `benchmarks/run` and `benchmarks/soak` are made of; only they and their tests import it."""
