"""Pages for browsers that need no other file: what all of them have, light and dark."""
