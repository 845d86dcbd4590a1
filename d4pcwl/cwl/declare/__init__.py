"""What a script declares about its files, inputs, environment and resources, and what is found by
reading it."""
