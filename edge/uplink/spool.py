"""The durable outbound queue: what is put here survives a power cut, and leaves when the broker has it."""

import datetime as dt
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.policy.floor import RETAIN_MAX_DAYS
from edge.uplink import books, gaps, schema
from edge.uplink.database import Connection, count, counter, number
from edge.uplink.messages import Lost
from edge.uplink.records import (
    Depth,
    Kind,
    Losses,
    LostRange,
    MessageTooLarge,
    OpenInfraction,
    Outgoing,
    Record,
    Refused,
    Salvage,
    Serial,
    SpoolCorrupt,
    Spooled,
    SpoolFull,
)
from edge.uplink.schema import ROW_BYTES
from edge.uplink.spool_file import SpoolFile

MAX_GAP_MESSAGES = 64
"""Gap messages that wait at most; until some have left, what is lost is only noted, in ranges that grow."""
_OLD_AT_ONCE = 1000

_log = logging.getLogger(__name__)


class Spool:
    """The queue, for the one process that holds its lock. Safe to use from several threads.

    A call holds the lock for a commit to the disk and no longer: `put` never waits on the network.
    Once a picture is gone, by delivery or by age, none of it stays in the spool's files; one that gave way is
    wiped by the next call of `release` or `expire`, so that `put` need not wait for that. What goes
    undelivered is noted in the transaction that deletes it; `write_gaps` makes messages of the notes.

    On a full disk the reserve beside the file is given up, and pictures give way, until there is room again.
    Any call may raise SpoolCorrupt: `recover` then keeps what reads.
    """

    def __init__(self, file: SpoolFile, max_bytes: int, max_age_s: float | None) -> None:
        self._file = file
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._on_put: Callable[[], None] = _nobody
        self._given = 0
        """Messages up to this position were given to whoever delivers; some of them may have come."""

    @classmethod
    def open(cls, path: Path, *, max_bytes: int = 64 << 20, max_age_s: float | None = None) -> Self:
        """Open or make the spool at `path`, its folder too (0700), and count a new session.

        `max_bytes` bounds the messages; the file and its log are about a tenth and 0.5 MB larger, the reserve
        1 MB. `max_age_s` bounds the time that events wait.
        A damaged file is moved aside, and what reads of it is kept: see `salvaged`.
        A full disk is no bar to a spool that exists: what it holds can be read and delivered, and the session
        is written as soon as there is room. To make a new one, or to salvage one, takes some space.
        Raises SpoolLocked, SpoolUnwritable, SpoolFull, and SpoolError for what another program, or a newer
        deskwatch, left there.
        """
        if max_bytes <= ROW_BYTES:
            raise ValueError(f"max_bytes: wanted more than {ROW_BYTES}, got {max_bytes}")
        file = SpoolFile.open(path)
        try:
            spool = cls(file, max_bytes, max_age_s)
            spool._start_session()
        except BaseException:
            file.close()
            raise
        return spool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give up the lock; closing twice does nothing."""
        self._file.close()

    @property
    def session(self) -> int:
        """How often this spool was opened, this time included.

        Where the disk stayed full for a whole session, the next one may have the same number.
        """
        return self._file.session

    @property
    def epoch(self) -> str:
        """In which the next record's number counts."""
        return self._file.epoch

    @property
    def salvaged(self) -> Salvage | None:
        """What came of a damaged file, at the start or at the last `recover`; None where it was sound."""
        return self._file.salvaged

    def notify(self, on_put: Callable[[], None] | None) -> None:
        """Call `on_put` after every put and skip, in the thread that puts: it must not wait. None ends it."""
        self._on_put = on_put or _nobody

    def put(self, build: Callable[[Serial], Record]) -> int:
        """Make a record with the next number and keep it, all of it or nothing; return its seq.

        `build` is called while others wait for the spool: it should only put together what is ready. On a
        full disk it may be called again with the same number, and what it made first is dropped.
        Where the bound is reached, thumbnails give way, oldest first, then events. On a full disk, the
        record's own thumbnail does, then older ones.
        Raises SpoolFull (the disk is), MessageTooLarge, and what `build` raises.
        """
        while True:
            try:
                seq = self._file.write(lambda db: self._put(db, build))
                break
            except SpoolFull:
                if not self._drop_a_picture():
                    raise
        self._on_put()
        return seq

    def skip(self, records: int) -> None:
        """Use up the numbers of records that will never come. They are lost to a full disk."""

        def work(db: Connection) -> None:
            last = self._file.number(db, records)
            lost = LostRange("event", self._file.epoch, last - records + 1, last, records, Lost.DISK_FULL)
            gaps.note(db, lost)
            count(db, "event", records)

        if records > 0:
            self._file.write(work)
            self._on_put()

    def write_gaps(self, build: Callable[[Serial, LostRange], Record]) -> int:
        """Make messages of what was noted as lost, in the order of loss; return how many.

        At most `MAX_GAP_MESSAGES` wait at a time. `build` is called as `put` calls it.
        """
        with self._file.reading() as db:
            if not gaps.waiting(db):
                return 0

        def work(db: Connection) -> int:
            room = MAX_GAP_MESSAGES - number(db, "SELECT COUNT(*) FROM outbound WHERE kind = 'gap'")
            telling = gaps.noted(db, max(0, room))
            for id_, lost in telling:
                self._insert(db, lambda serial, lost=lost: build(serial, lost))  # type: ignore[misc]
                gaps.forget(db, id_)
            return len(telling)

        told = self._file.write(work)
        if told:
            self._on_put()
        return told

    def pending(self, limit: int, *, after: int = 0, alive_at: dt.datetime) -> list[Spooled]:
        """Return the next messages past position `after`, in order, but none that expires by `alive_at`."""
        with self._file.reading() as db:
            rows = db.execute(schema.PENDING, (after, alive_at.timestamp(), limit)).fetchall()
            given = [schema.spooled(row) for row in rows]
            if given:
                self._given = max(self._given, given[-1].position)
            return given

    def release(self, positions: Iterable[int]) -> None:
        """Forget messages that the broker has; those that are gone already change nothing."""
        known = list(positions)
        self._file.write(lambda db: self._remove(db, known))
        self._file.wipe()

    def acknowledge(self, epoch: str, seq: int) -> int:
        """Forget all messages of `epoch` up to `seq`, which the ingester has; return how many.

        Raises ValueError for a seq that was never given out. Of an epoch that is not known, nothing is here.
        """
        gone = self._file.write(lambda db: self._remove(db, books.acknowledged(db, epoch, seq)))
        self._file.wipe()
        return len(gone)

    def note_released(self) -> None:
        """Note what left on the broker's word alone: an ingester that begins now must not wait for it."""
        self._file.write(lambda db: gaps.note_released(db, self._file.epoch, self._file.number(db, 0)))

    def set_aside(self, position: int, reason: str) -> None:
        """Keep a message that the broker will not have out of the way of the others, and count it.

        It stays for `refused` to show until it is tried again, expires or gives way.
        """
        self._file.write(lambda db: books.set_aside(db, position, reason))

    def retry_dead_letters(self) -> int:
        """Put what was set aside back into the queue, `books.MAX_TRIES` times at most; return how many.

        What was refused after the last time is lost, and noted: nobody is to wait for it any more.
        """
        with self._file.reading() as db:
            if not db.execute(schema.REFUSED, (1,)).fetchall():
                return 0

        def work(db: Connection) -> int:
            self._note_lost(db, self._remove(db, books.tried_out(db)), Lost.REFUSED)
            return books.retry(db)

        return self._file.write(work)

    def expire(self, now_at: dt.datetime, *, synchronised: bool = False) -> int:
        """Delete what expired by `now_at`, and events that waited for `max_age_s`; return how many.

        Pictures go by whatever clock there is: one that runs ahead costs a picture, one never set must not
        keep it. By a `synchronised` one also those go whose time was read on a clock that was wrong, where
        nobody can tell by how much; and events.
        """
        now_s, max_age_s = now_at.timestamp(), self._max_age_s

        def work(db: Connection) -> int:
            going = books.expired(db, now_s)
            if synchronised:
                going += books.undated(db) + books.beyond(db, now_s + RETAIN_MAX_DAYS * 86_400.0)
            expired = self._remove(db, going)
            self._note_lost(db, expired, Lost.EXPIRED)
            if not synchronised or max_age_s is None:
                return len(expired)
            old = self._remove(db, books.too_old(db, now_s, max_age_s, _OLD_AT_ONCE))
            self._note_lost(db, old, Lost.TOO_OLD)
            return len(expired) + len(old)

        gone = self._file.write(work)
        self._file.wipe()
        self._file.tidy(now_at)
        return gone

    def amend(self, fix: books.Fix) -> int:
        """Put right waiting events whose time was read on a clock that was not set; return how many.

        Each is asked for once. Pictures expire with their events, and go where those cannot be put right.
        """

        def work(db: Connection) -> int:
            amended = books.amend(db, fix)
            self._note_lost(db, self._remove(db, books.undated(db)), Lost.EXPIRED)
            return amended

        amended = self._file.write(work)
        self._file.wipe()
        return amended

    def last_picture(self) -> int:
        """Return the position of the last picture that waits, 0 where none does."""
        with self._file.reading() as db:
            return max(books.pictures(db), default=0)

    def drop_pictures(self, until: int) -> int:
        """Delete the pictures up to a position, whose age cannot be known; return how many."""

        def work(db: Connection) -> int:
            gone = self._remove(db, books.pictures(db, until))
            self._note_lost(db, gone, Lost.EXPIRED)
            return len(gone)

        dropped = self._file.write(work)
        self._file.wipe()
        return dropped

    def forget_damaged(self, now_at: dt.datetime) -> None:
        """Delete what is left of a damaged file that could not be mended for longer than pictures stay."""
        self._file.forget_damaged(now_at)

    def refused(self, limit: int = 100) -> list[Refused]:
        """Return the oldest messages that were set aside."""
        with self._file.reading() as db:
            return [Refused(*row) for row in db.execute(schema.REFUSED, (limit,)).fetchall()]

    def open_infractions(self) -> list[OpenInfraction]:
        """Return the infractions that were opened and not closed, oldest first."""
        with self._file.reading() as db:
            return [schema.left_open(*row) for row in db.execute(schema.LEFT_OPEN).fetchall()]

    def note(self, name: str, value: str | None) -> None:
        """Keep a small text under a name; None takes it away."""
        self._file.write(lambda db: books.note(db, name, value))

    def noted(self, name: str) -> str | None:
        """Return the text that is kept under a name."""
        with self._file.reading() as db:
            return books.noted(db, name)

    def remember(self, id_: str, expires_at: dt.datetime, now_at: dt.datetime) -> bool:
        """Keep a command's id until it expires; return False if it is known already.

        At most `books.MAX_COMMANDS` are kept; those that expire first leave first.
        """
        return self._file.write(
            lambda db: books.remember(db, id_, expires_at.timestamp(), now_at.timestamp())
        )

    def depth(self) -> Depth:
        """Return how much waits."""
        with self._file.reading() as db:
            return books.depth(db)

    def oldest_at(self) -> dt.datetime | None:
        """Return when the oldest event that waits happened; None: none does, or nobody knows."""
        with self._file.reading() as db:
            return books.oldest_at(db)

    @property
    def tight(self) -> bool:
        """Whether the disk was full, and has not had room again."""
        return self._file.tight

    def lost(self) -> Losses:
        """Return the durable counts of what never arrived."""
        with self._file.reading() as db:
            return books.lost(db)

    def gone(self) -> bool:
        """Return whether the file, its log or its folder was deleted or replaced under us: then `recover`."""
        return self._file.gone()

    @property
    def damaged(self) -> bool:
        """Whether a call has raised SpoolCorrupt since the last `recover`."""
        return self._file.damaged

    def recover(self) -> None:
        """Put a spool that is damaged or gone right, in place; one that is sound stays as it is.

        What reads is kept, the rest is noted as lost; `salvaged` says what came of it. Raises SpoolError.
        """
        self._file.recover()

    def _start_session(self) -> None:
        def work(db: Connection) -> None:
            self._given = number(db, "SELECT IFNULL(MAX(position), 0) FROM outbound")  # by a run before
            # The bound may be lower than last time.
            self._give_way(db, self._max_bytes, (Kind.THUMBNAIL, Kind.EVENT), Lost.SPOOL_FULL)

        try:
            try:
                self._file.write(work)
            except SpoolCorrupt as error:
                _log.error("the spool is damaged: %s", error)
                self._file.recover()
        except SpoolFull as error:
            _log.warning("session %d cannot be written yet: %s", self.session, error)
        self._file.wipe()
        self._file.tidy()

    def _put(self, db: Connection, build: Callable[[Serial], Record]) -> int:
        seq = self._insert(db, build)
        self._give_way(db, self._max_bytes, (Kind.THUMBNAIL, Kind.EVENT), Lost.SPOOL_FULL)
        return seq

    def _insert(self, db: Connection, build: Callable[[Serial], Record]) -> int:
        serial = Serial(self._file.epoch, self._file.number(db, 1))
        record = build(serial)
        if not record.messages:
            raise ValueError(f"record {serial.seq}: wanted at least one message, got none")
        rows = [self._row(serial, message) for message in record.messages]
        if self._file.tight:  # what room there is, is for events
            dropped = [
                gaps.Gone(row.kind, row.epoch, row.seq, 1) for row in rows if row.kind == Kind.THUMBNAIL
            ]
            rows = [row for row in rows if row.kind != Kind.THUMBNAIL]
            self._note_lost(db, dropped, Lost.DISK_FULL)
        db.executemany(schema.INSERT, rows)
        books.keep(db, record)
        return serial.seq

    def _drop_a_picture(self) -> bool:
        """Make room in the file for an event; return whether there was a picture to give."""

        def work(db: Connection) -> int:
            oldest = db.execute(schema.GIVING_WAY, (Kind.THUMBNAIL.value,)).fetchmany(1)
            gone = self._remove(db, [position for position, _ in oldest])
            self._note_lost(db, gone, Lost.DISK_FULL)
            return len(gone)

        return self._file.write(work) > 0

    def _row(self, serial: Serial, message: Outgoing) -> schema.Row:
        row = schema.row_of(serial.epoch, serial.seq, message)
        if row.size_bytes > self._max_bytes:
            raise MessageTooLarge(
                f"{message.kind} on {message.topic}: wanted at most {self._max_bytes} bytes, the bound of"
                f" {self._file.path}, got {row.size_bytes} (payload, topic and {ROW_BYTES})"
            )
        return row

    def _give_way(self, db: Connection, limit_bytes: int, kinds: Iterable[Kind], reason: Lost) -> None:
        """Delete until the rest fits `limit_bytes`, or nothing of the kinds is left; note what goes."""
        for kind in kinds:
            while (excess_bytes := counter(db, "used_bytes") - limit_bytes) > 0:
                going: list[int] = []
                for position, size_bytes in db.execute(schema.GIVING_WAY, (kind.value,)):
                    going.append(position)
                    excess_bytes -= size_bytes
                    if excess_bytes <= 0:
                        break
                if not going:
                    break
                self._note_lost(db, self._remove(db, going), reason)  # a note takes room as well: look again

    def _note_lost(self, db: Connection, gone: list[gaps.Gone], reason: Lost) -> None:
        gaps.note_gone(db, gone, reason, self._given)
        gaps.count_gone(db, gone, expired=reason in {Lost.EXPIRED, Lost.TOO_OLD})

    def _remove(self, db: Connection, positions: Iterable[int]) -> list[gaps.Gone]:
        gone = books.remove(db, positions)
        self._file.soiled = self._file.soiled or any(each.kind == Kind.THUMBNAIL for each in gone)
        return gone


def _nobody() -> None:
    """Nobody waits for a put."""
