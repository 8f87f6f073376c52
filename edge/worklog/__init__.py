"""The worker's log: what left the unit, line upon line, each tied to the one before it."""
