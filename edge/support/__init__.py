"""The support bundle: what a technician may send away of a unit, and nothing else of it."""
