"""The scripts that are measured, each the same text under either package."""
