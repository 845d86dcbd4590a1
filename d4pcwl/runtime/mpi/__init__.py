"""Runs by the ranks of mpiexec: frames, results and prints on their way to rank 0, and a common
end."""
