"""The twin on the disk: signed envelopes as they came, and the notes that say what each of them is.

`twin.json` is the one that counts: it is replaced as a whole, and what a crash leaves beside it is put right
by it when the unit starts. A trial is on the disk before its notes name it; a confirmed policy is named
before its envelope moves. So there is always one whole policy to run, and no crash ever confirms a trial.
"""

import contextlib
import errno
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Never

import msgspec

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.uplink.envelope import MAX_ENVELOPE_BYTES, EnvelopeError, Open, Signed
from edge.uplink.twin_check import sha256_of
from edge.uplink.twin_messages import RefusalCode
from edge.uplink.twin_state import Notes

NOTES_FILE = "twin.json"
CONFIRMED_FILE = "confirmed.jws"
TRIAL_FILE = "trial.jws"

_MAX_NOTES_BYTES = 65_536
_log = logging.getLogger(__name__)


class NotStored(EdgeError):
    """The disk did not take it: free space, or mount it writable; until then the policy stays as it is."""


class Disk:
    """The few things that are asked of a file system. Each raises OSError."""

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Return what is in a file."""
        return read_bounded(path, max_bytes)

    def make_folder(self, path: Path) -> None:
        """Make a folder that only the unit's own user reads."""
        path.mkdir(mode=0o700)

    def write(self, path: Path, data: bytes) -> None:
        """Make a file of `data`, down on the medium when this returns."""
        # Neither through a link nor into a pipe, on which it would wait for ever.
        kind = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | kind, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, target: Path) -> None:
        """Give a file another name, at once, whatever had it."""
        path.replace(target)

    def remove(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        """Bring the names in a folder down on the medium."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class ReadOnlyDisk(Disk):
    """A disk that is only read: what a crash left there is the unit's to put right."""

    def make_folder(self, path: Path) -> None:
        """Raise OSError."""
        self._refuse(path)

    def write(self, path: Path, data: bytes) -> None:
        """Raise OSError."""
        self._refuse(path)

    def replace(self, path: Path, target: Path) -> None:
        """Raise OSError."""
        self._refuse(path)

    def remove(self, path: Path) -> None:
        """Raise OSError."""
        self._refuse(path)

    def sync_folder(self, path: Path) -> None:
        """Raise OSError."""
        self._refuse(path)

    def _refuse(self, path: Path) -> Never:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was on the disk."""

    notes: Notes
    lost: bool
    """The notes could not be read, and these are empty ones."""
    confirmed: Signed | None
    trial: Signed | None
    fault: EnvelopeError | None
    """Why there is an envelope that was confirmed, and cannot be believed."""


class TwinStore:
    """The folder `twin/`. One owner, one thread at a time."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self._folder = folder
        self._disk = disk or Disk()
        self._trial: bytes | None = None  # what is known to be in TRIAL_FILE
        self._unmoved = False  # TRIAL_FILE is confirmed by the notes, but has its old name

    def load(self, opener: Open) -> Loaded:
        """Read all there is, and finish what a crash left half done. Never raises for what it finds."""
        notes, lost = self._load_notes()
        confirmed, fault = self._envelope(CONFIRMED_FILE, opener)
        trial, _ = self._envelope(TRIAL_FILE, opener)
        wanted = notes.confirmed.sha256 if notes.confirmed is not None else None
        if trial is not None and sha256_of(trial.document) == wanted:
            if confirmed is None or sha256_of(confirmed.document) != wanted:
                confirmed, fault, self._unmoved = trial, None, True
                with contextlib.suppress(NotStored):  # begin() tries again
                    self._finish_move()
            trial = None
        elif trial is not None and notes.trial is None and not lost:
            self._forget_trial()
        return Loaded(notes, lost, confirmed, trial, fault)

    def begin(self, envelope: bytes, notes: Notes) -> None:
        """Keep an envelope whose trial begins. Raises NotStored."""
        self._finish_move()
        self._keep_trial(envelope)
        self._save(notes)

    def confirm(self, envelope: bytes, notes: Notes) -> None:
        """Make the envelope on trial last-known-good. Raises NotStored; then it is not."""
        if self._trial != envelope:  # another one's begin failed half way
            self._keep_trial(envelope)
        self._save(notes)
        self._unmoved = True
        try:
            self._finish_move()
        except NotStored as error:
            _log.warning("%s: the confirmed policy keeps the name of a trial for now", error)

    def settle(self, notes: Notes) -> None:
        """End a trial that is not confirmed. Raises NotStored."""
        self._save(notes)
        if not self._unmoved:
            self._forget_trial()

    def resign(self, envelope: bytes, notes: Notes) -> None:
        """Keep the confirmed document's new envelope. Raises NotStored."""
        self._finish_move()
        self._put(CONFIRMED_FILE, envelope)
        self._save(notes)

    def _keep_trial(self, envelope: bytes) -> None:
        self._trial = None
        self._put(TRIAL_FILE, envelope)
        self._trial = envelope

    def _forget_trial(self) -> None:
        self._trial = None
        with contextlib.suppress(OSError):  # nothing names it any more
            self._disk.remove(self._folder / TRIAL_FILE)

    def _finish_move(self) -> None:
        if not self._unmoved:
            return
        try:
            self._disk.replace(self._folder / TRIAL_FILE, self._folder / CONFIRMED_FILE)
            self._disk.sync_folder(self._folder)
        except OSError as error:
            raise NotStored(f"{self._folder / CONFIRMED_FILE}: {error.strerror}") from error
        self._trial, self._unmoved = None, False

    def _save(self, notes: Notes) -> None:
        body = msgspec.json.encode(notes)
        self._put(NOTES_FILE, body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")

    def _put(self, name: str, data: bytes) -> None:
        """Replace a file as a whole, or leave it as it is."""
        path, fresh = self._folder / name, self._folder / f"{name}.new"
        try:
            if not self._folder.is_dir():
                self._disk.make_folder(self._folder)
                self._disk.sync_folder(self._folder.parent)
            self._disk.write(fresh, data)
            self._disk.replace(fresh, path)
            self._disk.sync_folder(self._folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._disk.remove(fresh)
            raise NotStored(f"wanted {path} written, got: {error.strerror}") from error

    def _load_notes(self) -> tuple[Notes, bool]:
        path = self._folder / NOTES_FILE
        try:
            return _parse_notes(self._disk.read(path, _MAX_NOTES_BYTES)), False
        except FileNotFoundError:
            return Notes(), False
        except (OSError, ValueError, RecursionError) as error:
            _log.error("%s: wanted the notes as they were written, got: %s", path, error)
            with contextlib.suppress(OSError):
                self._disk.replace(path, path.with_name(f"{NOTES_FILE}.corrupt"))
            return Notes(), True

    def _envelope(self, name: str, opener: Open) -> tuple[Signed | None, EnvelopeError | None]:
        path = self._folder / name
        try:
            return opener(self._disk.read(path, MAX_ENVELOPE_BYTES)), None
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None, None
            fault = EnvelopeError(RefusalCode.BAD_ENVELOPE, f"wanted a readable file, got: {error.strerror}")
        except EnvelopeError as error:
            fault = error
        _log.error("%s is not believed: %s", path, fault.problem)
        return None, fault


def _parse_notes(data: bytes) -> Notes:
    """Read what `_save` wrote. Raises ValueError; a DecodeError is one."""
    body, _, digest = data.partition(b"\n")
    if digest != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise ValueError("a checksum that is not theirs")
    return msgspec.json.decode(body, type=Notes)
