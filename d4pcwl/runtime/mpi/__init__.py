"""Runs with the ranks of mpiexec: frames, results and prints for rank 0, and a common end."""
