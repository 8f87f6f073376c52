"""How a batch is taken into the ingester's store, inside one transaction."""

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from edge.operator.incoming import Gap, Incoming, IncomingEvent, IncomingPicture, Unreadable
from edge.operator.tables import Progress, Taken
from edge.policy.document import RETAIN_MAX_DAYS
from edge.uplink.wire import timestamp

RETENTION = dt.timedelta(days=RETAIN_MAX_DAYS)
_UNREADABLE_KEPT = 1000


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""
        ...

    @property
    def lastrowid(self) -> int | None:
        """Key of the row that it inserted."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401  a row has the types of its query
        """Return the next row, or None."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """The open store."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Rows:
        """Run one statement."""
        ...


class Intake:
    """One batch, inside its transaction."""

    def __init__(self, database: Database, now_at: dt.datetime) -> None:
        self._db = database
        self._now_at = now_at
        self._now = timestamp(now_at)
        self._counts = {"events": 0, "twice": 0, "pictures": 0, "unreadable": 0}
        self._touched: dict[tuple[str, str], bool] = {}
        """Unit and epoch: whether anything of it came that was here already."""
        self._heard: set[tuple[str, str]] = set()
        """Of these a message came; of the others only word that something is lost."""

    def take(self, item: Incoming) -> None:
        """Store one message."""
        match item:
            case IncomingEvent():
                self._event(item)
            case IncomingPicture():
                self._picture(item)
            case Unreadable():
                self._unreadable(item)

    def done(self) -> Taken:
        """Work out how far everything is now; return what became of the batch."""
        advanced, repeated = [], []
        for (unit, epoch), again in self._touched.items():
            (before,) = self._db.execute(
                "SELECT seq FROM progress WHERE unit = ? AND epoch = ?", (unit, epoch)
            ).fetchone() or (None,)
            seq = self._complete(unit, epoch, before or 0)
            progress = Progress(unit, epoch, seq)
            if before is None or seq > before:
                note(self._db, progress, heard=(unit, epoch) in self._heard)
                advanced.append(progress)
            elif again:
                repeated.append(progress)
        return Taken(**self._counts, advanced=tuple(advanced), repeated=tuple(repeated))

    def _event(self, event: IncomingEvent) -> None:
        new = self._db.execute(
            "INSERT INTO events"
            " (unit, id, epoch, seq, type, time, received_at, picture_expires_at, picture_sha256, awaits,"
            " payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (unit, id) DO NOTHING",
            (
                event.unit,
                event.id,
                event.epoch,
                event.seq,
                event.type,
                event.time,
                self._now,
                event.picture_expires_at,
                event.picture_sha256,
                event.picture_sha256 is not None and not self._picture_settled(event),
                event.payload,
            ),
        ).rowcount
        if event.picture_expires_at is not None:  # it may have come first
            self._db.execute(
                "UPDATE pictures SET expires_at = min(expires_at, ?) WHERE unit = ? AND event_id = ?",
                (event.picture_expires_at, event.unit, event.id),
            )
        self._counts["events" if new else "twice"] += 1
        if not new and event.corrected:
            self._db.execute(
                "UPDATE events SET time = ?, picture_expires_at = ?, payload = ? WHERE unit = ? AND id = ?",
                (event.time, event.picture_expires_at, event.payload, event.unit, event.id),
            )
        self._touch(event.unit, event.epoch, again=not new)
        if event.gap is not None:
            self._gap(event.unit, event.gap)

    def _picture_settled(self, event: IncomingEvent) -> bool:
        """Tell whether the picture came before its event, or was given up."""
        (settled,) = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM pictures WHERE unit = ? AND event_id = ? AND sha256 = ?)"
            " OR EXISTS (SELECT 1 FROM gaps"
            " WHERE unit = ? AND what = 'thumbnail' AND epoch = ? AND ? BETWEEN from_seq AND to_seq)",
            (event.unit, event.id, event.picture_sha256, event.unit, event.epoch, event.seq),
        ).fetchone()
        return bool(settled)

    def _gap(self, unit: str, gap: Gap) -> None:
        self._db.execute(
            "INSERT INTO gaps VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (unit, gap.what, gap.epoch, gap.from_seq, gap.to_seq),
        )
        if gap.what == "thumbnail":
            self._db.execute(
                "UPDATE events SET awaits = 0 WHERE unit = ? AND epoch = ? AND seq BETWEEN ? AND ?",
                (unit, gap.epoch, gap.from_seq, gap.to_seq),
            )
        self._touched.setdefault((unit, gap.epoch), False)

    def _picture(self, picture: IncomingPicture) -> None:
        epoch, expires_at, wanted, awaits = self._db.execute(
            "SELECT epoch, picture_expires_at, picture_sha256, awaits FROM events WHERE unit = ? AND id = ?",
            (picture.unit, picture.event_id),
        ).fetchone() or (None, None, None, False)
        sha256 = hashlib.sha256(picture.payload).hexdigest()
        if epoch is not None and sha256 != wanted:
            problem = f"wanted the picture of sha256 {wanted}, got {sha256}"
            self._unreadable(Unreadable(picture.topic, problem, picture.payload))
            return
        expires_at = min(filter(None, (expires_at, self._kept_until(picture))))
        if expires_at > self._now:
            # One that came before its event, and is not the one that this announced, is replaced.
            row = self._db.execute(
                "INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (unit, event_id) DO UPDATE SET"
                " (media_type, received_at, expires_at, sha256, payload) = (excluded.media_type,"
                " excluded.received_at, excluded.expires_at, excluded.sha256, excluded.payload)"
                " WHERE sha256 <> excluded.sha256",
                (
                    picture.unit,
                    picture.event_id,
                    picture.media_type,
                    self._now,
                    expires_at,
                    sha256,
                    picture.payload,
                ),
            )
            self._counts["pictures"] += row.rowcount
        if epoch is not None:
            self._db.execute(
                "UPDATE events SET awaits = 0 WHERE unit = ? AND id = ?", (picture.unit, picture.event_id)
            )
            self._touch(picture.unit, epoch, again=not awaits)

    def _kept_until(self, picture: IncomingPicture) -> str:
        """Return when a picture goes at the latest, whatever its event says."""
        left = RETENTION
        if picture.expiry_s is not None:
            left = min(left, dt.timedelta(seconds=min(picture.expiry_s, 2**31)))
        return timestamp(self._now_at + left)

    def _touch(self, unit: str, epoch: str, *, again: bool) -> None:
        self._touched[unit, epoch] = self._touched.get((unit, epoch), False) or again
        self._heard.add((unit, epoch))

    def _unreadable(self, item: Unreadable) -> None:
        cursor = self._db.execute(
            "INSERT INTO unreadable (topic, problem, received_at, payload) VALUES (?, ?, ?, ?)",
            (item.topic, item.problem[:500], self._now, item.payload),
        )
        oldest = (cursor.lastrowid or 0) - _UNREADABLE_KEPT
        self._db.execute("DELETE FROM unreadable WHERE position <= ?", (oldest,))
        self._counts["unreadable"] += 1

    def _complete(self, unit: str, epoch: str, seq: int) -> int:
        """Return the highest number up to which nothing is missing, from `seq` on.

        A picture that never came is waited for as long as any picture is kept, and no longer.
        """
        patience = timestamp(self._now_at - RETENTION)
        while True:
            before = seq
            for (stored,) in self._db.execute(
                "SELECT seq FROM events WHERE unit = ? AND epoch = ? AND seq > ?"
                " AND (NOT awaits OR received_at < ?) ORDER BY seq LIMIT 1000",
                (unit, epoch, seq, patience),
            ):
                if stored > seq + 1:
                    break
                seq = stored
            (to_seq,) = self._db.execute(
                "SELECT max(to_seq) FROM gaps"
                " WHERE unit = ? AND what = 'event' AND epoch = ? AND from_seq <= ?",
                (unit, epoch, seq + 1),
            ).fetchone()
            seq = max(seq, to_seq or 0)
            if seq == before:
                return seq


def note(database: Database, progress: Progress, *, heard: bool) -> None:
    """Write how far an epoch is; `heard` where a message of its own came: the last new one is the newest."""
    database.execute(
        "INSERT INTO progress VALUES"
        " (?1, ?2, ?3, iif(?4, (SELECT coalesce(max(heard), 0) + 1 FROM progress WHERE unit = ?1), 0))"
        " ON CONFLICT (unit, epoch) DO UPDATE SET seq = max(seq, excluded.seq)",
        (progress.unit, progress.epoch, progress.seq, heard),
    )
