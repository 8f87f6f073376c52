"""What the ingester's store is made of, and what it tells."""

from dataclasses import dataclass

VERSION = 1
SCHEMA = """
CREATE TABLE tenant (name TEXT NOT NULL);
CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  unit TEXT NOT NULL, id TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
  type TEXT NOT NULL, time TEXT NOT NULL, received_at TEXT NOT NULL,
  picture_expires_at TEXT, picture_sha256 TEXT,  -- of the picture that it announces
  awaits INTEGER NOT NULL,  -- 1 while that picture has neither come nor been given up
  payload BLOB NOT NULL,
  UNIQUE (unit, id)
);
CREATE INDEX events_by_number ON events (unit, epoch, seq);
CREATE TABLE pictures (
  unit TEXT NOT NULL, event_id TEXT NOT NULL,
  media_type TEXT NOT NULL, received_at TEXT NOT NULL, expires_at TEXT NOT NULL, sha256 TEXT NOT NULL,
  payload BLOB NOT NULL,
  PRIMARY KEY (unit, event_id)
);
CREATE INDEX pictures_by_expiry ON pictures (expires_at);
CREATE TABLE gaps (
  unit TEXT NOT NULL, what TEXT NOT NULL, epoch TEXT NOT NULL,
  from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
  PRIMARY KEY (unit, what, epoch, from_seq, to_seq)
) WITHOUT ROWID;
CREATE TABLE progress (
  unit TEXT NOT NULL, epoch TEXT NOT NULL,
  seq INTEGER NOT NULL,    -- all up to here is stored, or will never come
  heard INTEGER NOT NULL,  -- the highest of a unit is its newest epoch
  PRIMARY KEY (unit, epoch)
) WITHOUT ROWID;
CREATE TABLE unreadable (
  position INTEGER PRIMARY KEY,
  topic TEXT NOT NULL, problem TEXT NOT NULL, received_at TEXT NOT NULL, payload BLOB NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far everything of one life of a unit's spool is here."""

    unit: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch. All of it is on the disk."""

    events: int = 0
    twice: int = 0
    pictures: int = 0
    unreadable: int = 0
    advanced: tuple[Progress, ...] = ()
    """Where more is complete than before, and epochs heard of for the first time."""
    repeated: tuple[Progress, ...] = ()
    """Nothing new is complete, and something came again: the unit seems not to know how far we are."""
