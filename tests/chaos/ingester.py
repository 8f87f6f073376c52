"""The other end: the reference ingester, in a process of its own, and what it holds."""

import hashlib
import json
import logging
import multiprocessing
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from edge.backoff import Backoff
from edge.operator.ingest import SESSION_EXPIRY_S, Ingester, filters
from edge.operator.station import Station
from edge.operator.store import Store
from edge.uplink.link import BrokerConfig
from edge.uplink.signals import LinkError, Received
from tests.chaos.check import Hole, Kept
from tests.chaos.journal import Journal
from tests.chaos.unit import TOPICS

GAP = "deskwatch.gap.v1"
_log = logging.getLogger("ingester")


@dataclass(frozen=True, slots=True)
class IngesterOrders:
    """Where it listens, and where it keeps."""

    store: Path
    journal: Path
    log: Path
    port: int


class _Heard(Station):
    """Writes down every event and picture that comes, before anything is done about it."""

    journal: Journal

    def turn(self, wait_s: float) -> list[Received]:
        came = super().turn(wait_s)
        for message in came:
            below = message.topic.removeprefix(f"{TOPICS.root}/")
            if below == "event" or below.startswith("thumb/"):
                sha256 = hashlib.sha256(message.payload).hexdigest()
                self.journal.note("came", topic=below, sha256=sha256)
            if below == "event":
                self.journal.note("received", id=json.loads(message.payload)["id"], at_s=time.monotonic())
        return came


def ingest(orders: IngesterOrders) -> None:
    """Be the ingester, until killed."""
    logging.basicConfig(filename=orders.log, level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    config = BrokerConfig(
        "127.0.0.1",
        orders.port,
        "ingester",
        keepalive_s=10,
        connect_timeout_s=3.0,
        session_expiry_s=SESSION_EXPIRY_S,
    )
    station = _Heard(
        config, filters(TOPICS.tenant, None), manual_ack=True, backoff=Backoff(0.1, 1.0), lost=_log.info
    )
    station.journal = Journal(orders.journal)
    harness = multiprocessing.parent_process()
    try:
        with Store.open(orders.store, TOPICS.tenant) as store, station:
            ingester = Ingester(TOPICS.tenant, station, store, _log.warning)
            stop = Event()
            while harness is None or harness.is_alive():
                ingester.turn(stop)
    except LinkError as error:  # the first connection must succeed: an operator's shell starts it again
        _log.info("%s", error)
        time.sleep(0.1)
        sys.exit(1)


class Holdings:
    """What the ingester's store holds, read by somebody else."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def kept(self) -> list[Kept]:
        """Return all events."""
        rows = self._rows("SELECT id, epoch, seq, type FROM events")
        return [Kept(event_id, epoch, seq, kind == GAP) for event_id, epoch, seq, kind in rows]

    def holes(self) -> list[Hole]:
        """Return what gap events say will never come."""
        told = [d for d in self._gaps() if d["what"] == "event"]
        return [Hole(d["lost_epoch"], d["from_seq"], d["to_seq"], d["reason"]) for d in told]

    def pictures(self) -> tuple[int, int, int]:
        """Return how many pictures were announced, how many are here, and how many nothing accounts for.

        The ingester keeps none that is past its retention; a unit with a wrong clock makes such.
        """
        announced = self._rows("SELECT id, epoch, seq FROM events WHERE picture_expires_at IS NOT NULL")
        expired = self._rows(
            "SELECT id FROM events WHERE picture_expires_at <= strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"
        )
        came = {event_id for (event_id,) in self._rows("SELECT event_id FROM pictures")}
        gone = came | {event_id for (event_id,) in expired}
        given_up = [d for d in self._gaps() if d["what"] == "thumbnail"]
        silent = [
            event_id
            for event_id, epoch, seq in announced
            if event_id not in gone
            and not any(d["lost_epoch"] == epoch and d["from_seq"] <= seq <= d["to_seq"] for d in given_up)
        ]
        return len(announced), len(came), len(silent)

    def unreadable(self) -> int:
        """Return how many messages the ingester could not read."""
        return int(self._rows("SELECT COUNT(*) FROM unreadable")[0][0])

    def _gaps(self) -> list[dict]:
        return [
            json.loads(p)["data"] for (p,) in self._rows(f"SELECT payload FROM events WHERE type = '{GAP}'")
        ]

    def _rows(self, query: str) -> Sequence[tuple]:
        with closing(sqlite3.connect(self._path)) as database:
            return database.execute(query).fetchall()
