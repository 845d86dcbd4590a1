"""Runs by way of a Redis server: the scripts that share out tasks there, and both sides of them."""
