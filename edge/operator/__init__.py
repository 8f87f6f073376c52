"""The other end: what the fleet operator runs."""
