"""What can be wrong with the worker's log."""

from edge.errors import EdgeError


class LogUnusable(EdgeError):
    """The log's folder cannot be made or locked: give the unit a state folder that it may write."""


class LogInUse(LogUnusable):
    """Another process writes this log: stop it."""


class LogUnwritable(EdgeError):
    """The disk did not take it, and nothing of it counts: free some space, or mount the disk writable."""


class LogDamaged(LogUnwritable):
    """The log is not as it was written: look at what is named, then let a new log begin with `start_anew`."""


class BrokenEntry(EdgeError):
    """A line is not the one that was written: the message says what was wanted and what came."""


class SegmentsChanged(EdgeError):
    """Somebody else deleted, replaced or wrote a file of the log while the unit ran: put it back."""
