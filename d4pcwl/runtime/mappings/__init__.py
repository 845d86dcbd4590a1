"""The mappings, one file each: every one moves batches of items along the same plan. No mapping
imports another."""
