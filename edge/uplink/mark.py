"""The spool's high-water mark: a line beside the file, by which numbers that were lost are known to be.

It is written after each commit and never waited for, so it is at most what the file holds, and a file that
holds less has lost something: a damaged log, a card that lied about a flush, a file that was deleted.
"""

import logging
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LINE_BYTES = 76

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a spool had come."""

    epoch: str
    seq: int
    session: int


class Mark:
    """The file that holds one `Reached`. What cannot be written is done without."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def read(self) -> Reached | None:
        """Return what was written last; None where there is nothing whole."""
        try:
            line = self.path.read_bytes()[:_LINE_BYTES]
            body, check = line[:-9], line[-9:-1]
            epoch, seq, session = body.decode("ascii").split()
            if int(check, 16) != zlib.crc32(body):
                return None
            return Reached(epoch, int(seq), int(session))
        except (OSError, ValueError):
            return None

    def write(self, reached: Reached) -> None:
        """Replace it, without waiting for the disk."""
        body = f"{reached.epoch} {reached.seq:020d} {reached.session:012d} ".encode("ascii")
        line = body + f"{zlib.crc32(body):08x}\n".encode("ascii")
        try:
            if self._descriptor < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags, 0o600)
            os.pwrite(self._descriptor, line, 0)
        except OSError as error:
            _log.debug("%s cannot be written: %s", self.path, error)
            self.close()

    def close(self) -> None:
        """Let go of the file; the next `write` opens it again."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
