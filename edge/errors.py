"""The root of every error that deskwatch raises on purpose."""


class EdgeError(Exception):
    """Something a person can act on: the message says what was wanted, what came, and where.

    The docstring of each subclass is its recovery.
    """
