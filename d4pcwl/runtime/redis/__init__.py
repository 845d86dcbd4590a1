"""Runs through a Redis server: the scripts on the server that distribute tasks, the parent, and the
workers."""
