"""What a run did, second by second: the records of it, the file that they rest in, and what reads
them. Knows nothing of how a run goes on; ``runtime`` and ``cli`` import from here."""
