"""What a script declares of its files, inputs, environment and resources, and what reading it
adds."""
