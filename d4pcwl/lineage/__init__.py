"""Lineage: which items each item comes from. The record of a run, PROV of it, and questions to
it."""
