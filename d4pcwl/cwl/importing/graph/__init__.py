"""Graphs of CWL documents: one that ``d4pcwl-runner`` runs, and one that users edit."""
