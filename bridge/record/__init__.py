"""The saved record of a run: what it leaves, and how that is stored."""
