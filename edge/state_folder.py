"""What lies in a unit's state folder under names that more than one room has to know."""

from typing import Final

SPOOL_FILE: Final = "spool.db"
LOG_FOLDER: Final = "log"
"""The worker's log."""
TWIN_FOLDER: Final = "twin"
"""Policies from afar, and the notes on them."""
