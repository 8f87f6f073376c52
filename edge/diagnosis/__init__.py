"""How a unit is: a table of checks, each with what it found, what was wanted, and what to do."""
