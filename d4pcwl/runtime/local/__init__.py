"""Processes of this machine: starting and ending them, what they print, and how they report."""
