"""The command line: one file per command; each only calls the rooms to its left."""
