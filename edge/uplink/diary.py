"""What the worker is told of everything that leaves: it is noted before it goes, or does not go."""

from collections.abc import Sequence
from typing import Protocol

from edge.uplink.records import SpoolError
from edge.uplink.signals import Publication


class NotNoted(SpoolError):
    """The worker's log does not take it, so it stays: free space on its disk, or mount it writable."""


class Diary(Protocol):
    """Asked in the uplink's thread, before every publish."""

    def leaving(self, publications: Sequence[Publication]) -> None:
        """Note what is about to leave, durable once this returns; what stands there already counts as noted.

        Raises NotNoted, and nothing of it may be published.
        """
        ...

    def lacks(self, publication: Publication) -> str | None:
        """Return why a picture may never leave: the worker could not see it; None: it may."""
        ...


class Unnoted:
    """Keeps nothing: for an uplink that carries nobody's desk, as in tests and benchmarks of the link."""

    def leaving(self, publications: Sequence[Publication]) -> None:
        """Let it go."""

    def lacks(self, publication: Publication) -> str | None:
        """Let it go."""
        return None
