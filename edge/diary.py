"""From what is published to the worker's log: each message as it leaves, and the picture in the clear."""

import datetime as dt
import hashlib
import time
from collections.abc import Callable, Sequence

import msgspec

from edge.evidence.sealing import JPEG_MEDIA_TYPE, SEALED_MEDIA_TYPE, sealed_to
from edge.policy.document import Policy
from edge.uplink.diary import NotNoted
from edge.uplink.messages import Alarm, AlarmCode, decode_state
from edge.uplink.signals import Publication
from edge.uplink.topics import Topics
from edge.uplink.twin_messages import Document
from edge.uplink.wire import InvalidMessage
from edge.worklog.entries import Command, PictureRef, PolicyTook, Sent
from edge.worklog.errors import LogUnwritable
from edge.worklog.log import WorkerLog

_STATE, _THUMB, _HEALTH = "state", "thumb/", "health"
HEALTH_EVERY_S = 3600.0
"""One entry of the log stands for the health of so long: figures of the machine, told each minute, would push
out within weeks what else it says."""


class WorkersDiary:
    """The uplink's `Diary`; for its thread alone, but for `trouble`."""

    def __init__(
        self,
        log: WorkerLog,
        topics: Topics,
        now_at: Callable[[], dt.datetime],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._now_at, self._now_s = log, now_at, now_s
        self._health_until_s = now_s()
        self._root = f"{topics.root}/"
        self._said: bytes | None = None
        self.trouble: str | None = None
        """Why the log did not take the last message; None: it did."""

    def leaving(self, publications: Sequence[Publication]) -> None:
        """Note what is about to leave. Raises NotNoted."""
        try:
            notes = [self._note(each) for each in publications]
            if new := [note for note in notes if note is not None]:
                self._log.append(new)
                self.trouble = None  # what stands there already says nothing of how the log is now
        except LogUnwritable as error:
            self.trouble = str(error)
            raise NotNoted(str(error)) from error
        for each, note in zip(publications, notes, strict=True):
            below = self._below(each)
            if below == _STATE:
                self._said = _plain(each.payload)
            elif below == _HEALTH and note is not None:
                self._health_until_s = self._now_s() + HEALTH_EVERY_S

    def policy_took(self, running: Document, policy: Policy) -> bool:
        """Note a policy that took force; return whether the log has it."""
        note = PolicyTook(running.version, running.sha256, msgspec.json.encode(policy).decode())
        try:
            self._log.append([note])
        except LogUnwritable as error:
            self.trouble = str(error)
            return False
        return True

    def command(self, name: str, payload: str) -> None:
        """Note a command that is about to be done. Raises LogUnwritable."""
        self._log.append([Command(name, payload)])

    def keep(self, event_id: str, jpeg: bytes, expires_at: dt.datetime, *, dated: bool = True) -> None:
        """Keep the worker's copy of a picture that is to be sent. Raises LogUnwritable."""
        self._log.keep_picture(event_id, jpeg, expires_at, dated=dated)

    def alarms(self) -> list[Alarm]:
        """Return what somebody should see to."""
        trouble = self.trouble
        return [] if trouble is None else [Alarm(code=AlarmCode.LOG_UNWRITABLE, detail=trouble[:256])]

    def lacks(self, publication: Publication) -> str | None:
        """Return why a sealed picture may not leave: the worker has no copy to look at."""
        below = self._below(publication)
        if publication.content_type != SEALED_MEDIA_TYPE or self._picture(below) is not None:
            return None
        return "the worker's own copy of this picture is gone, so it stays here"

    def _note(self, publication: Publication) -> Sent | None:
        """Return what the log says of a message; None where it says so already."""
        below, payload = self._below(publication), publication.payload
        if below == _STATE and _plain(payload) == self._said:
            return None  # only the number of the connection differs
        if below == _HEALTH and self.trouble is None and self._now_s() < self._health_until_s:
            return None  # the entry of this hour says so; a log that fails is asked each time
        sha256 = hashlib.sha256(payload).hexdigest()
        if below != _STATE and self._log.has_sent(below, sha256):
            return None
        if not below.startswith(_THUMB):
            text = payload.decode()
            return Sent(below, publication.content_type, len(payload), sha256, payload=text)
        return Sent(
            below, publication.content_type, len(payload), sha256, picture=self._shown(publication, below)
        )

    def _shown(self, publication: Publication, below: str) -> PictureRef | None:
        """Return the worker's copy of a picture; where it is gone, what leaves in the clear is copied."""
        ref = self._picture(below)
        if ref is None and publication.content_type == JPEG_MEDIA_TYPE:
            expires_at = self._now_at() + dt.timedelta(seconds=publication.expiry_s or 0)
            ref = self._log.keep_picture(below.removeprefix(_THUMB), publication.payload, expires_at)
        if ref is None or publication.content_type != SEALED_MEDIA_TYPE:
            return ref
        return msgspec.structs.replace(ref, sealed_to=sealed_to(publication.payload))

    def _picture(self, below: str) -> PictureRef | None:
        return self._log.picture_ref(below.removeprefix(_THUMB))

    def _below(self, publication: Publication) -> str:
        return publication.topic.removeprefix(self._root)


def _plain(payload: bytes) -> bytes:
    """Return a state without the numbers that only tell two connections apart."""
    try:
        state = decode_state(payload)
    except InvalidMessage:  # never of our own making
        return payload
    return msgspec.json.encode(msgspec.structs.replace(state, session=0, connection=0, at=""))
