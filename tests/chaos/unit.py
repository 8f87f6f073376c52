"""The unit that is tormented: the real reporter, spool, uplink and worker's log, in a process of their own.

Without a camera: what it reports is made up. All that happens to it comes from outside, but for the wall
clock, which it shifts as it is told. It waits for less than a unit does, so that years pass in minutes.
"""

import datetime as dt
import hashlib
import json
import logging
import multiprocessing
import random
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from edge.backoff import Backoff
from edge.clock import SystemClock
from edge.diary import WorkersDiary
from edge.evidence.thumbnail import Jpeg
from edge.policy.document import ObjectRule, Policy, parse_policy
from edge.policy.judge import Answer, Closed, Ended, Finding, Opened
from edge.uplink.carry import Uplink
from edge.uplink.event_records import Build, Origin, Stamp, gap_record
from edge.uplink.link import BrokerConfig
from edge.uplink.messages import Capture, Model, State
from edge.uplink.patience import Patience
from edge.uplink.records import LostRange, Record, Serial, SpoolError
from edge.uplink.report import Reporter
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.uplink.wire import ClockQuality, timestamp
from edge.worklog.errors import LogUnusable, LogUnwritable
from edge.worklog.log import WorkerLog
from tests.chaos.journal import Journal

TOPICS = Topics("chaos", "unit-1")
MODEL = Model(name="none", sha256="0" * 64)
NO_SPOOL = 3
"""Exit code of a unit that could not open its spool: systemd would start it again."""
CRASHED = 4
PATIENCE = Patience(stall_s=5.0, retry_s=2.0, redial_s=1.0, resend_s=4.0, nudge_s=0.5, silent_s=60.0)
LOG = "log"
LOG_BYTES, PICTURES_BYTES = 6 << 20, 2 << 20
_TURN_S = 0.02
_MIND_EVERY_S = 1.0
_STATUS_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Told:
    """What the unit is told while it lives, in a file that is replaced."""

    feeding: bool = True
    shift_days: int = 0
    """The wall clock is so far off."""
    synchronised: bool = True
    """What the unit believes of its clock."""
    stop: bool = False
    """End cleanly."""

    def write(self, path: Path) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Told":
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True, slots=True)
class Orders:
    """What a unit is born with."""

    spool: Path
    journal: Path
    told: Path
    log: Path
    port: int
    seed: int
    max_bytes: int
    events_per_s: float
    protocol: Literal["5", "3.1.1"] = "5"


class ShiftedClock(SystemClock):
    """The system's clock, its wall time shifted."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = dt.timedelta()

    def now_at(self) -> dt.datetime:
        return super().now_at() + self.shift


class Feeder:
    """Opens and closes infractions, every third with a picture, and writes down each that the spool has."""

    def __init__(
        self,
        journal: Journal,
        spool: Spool,
        log: WorkerLog,
        policy: Policy,
        orders: Orders,
        clock: ShiftedClock,
    ) -> None:
        self._journal, self._spool, self._policy = journal, spool, policy
        self._chance = random.Random(orders.seed)
        self._clock = clock
        self._told_path = orders.told
        self.told = Told.read(orders.told)
        self._origin = Origin(TOPICS, f"boot-{orders.seed}", MODEL)
        self._log, self._mind_due_s = log, 0.0
        self.diary = WorkersDiary(log, TOPICS, self._clock.now_at)
        self._rule = next(rule for rule in policy.rules if isinstance(rule, ObjectRule))
        self._interval_s = 1.0 / orders.events_per_s
        self._due_s = time.monotonic()
        self._is_open = False
        # Ids must differ from life to life: the reporter's chance is not the seed's.
        self.reporter = Reporter(
            self._origin,
            self._put,
            random.Random(),
            lambda: self.told.synchronised,
            self._clock,
            spool.skip,
            self.diary.keep,
        )

    @property
    def clock(self) -> ShiftedClock:
        return self._clock

    def gap(self, serial: Serial, lost: LostRange) -> Record:
        quality = ClockQuality.SYNCHRONISED if self.told.synchronised else ClockQuality.UNSYNCHRONISED
        stamp = Stamp(str(uuid.uuid4()), self._clock.now_at(), time.monotonic(), quality, 1)
        return gap_record(self._origin, stamp, lost, serial)

    def birth(self) -> State:
        return State(
            online=True,
            boot_id=self._origin.boot_id,
            firmware="chaos",
            model=MODEL,
            policy_version=self._policy.version,
            capture=Capture.WATCHING,
            at=timestamp(self._clock.now_at()),
        )

    def turn(self) -> None:
        """Hear what is told, and report what is due."""
        self.told = Told.read(self._told_path)
        self._clock.shift = dt.timedelta(days=self.told.shift_days)
        now_s = time.monotonic()
        self.reporter.turn(now_s)
        if now_s >= self._mind_due_s:
            self._mind_due_s = now_s + _MIND_EVERY_S
            self._mind_log()
        if self.told.feeding and now_s >= self._due_s:
            self._due_s = max(self._due_s + self._interval_s, now_s - 1.0)
            self._report(now_s)

    def _mind_log(self) -> None:
        """Do with the worker's log as the desk does; damage is nobody's doing here, and written down."""
        if self._log.damage is not None:
            self._journal.note("log-damaged", damage=self._log.damage, at_s=time.monotonic())
            with suppress(LogUnwritable):
                self._log.start_anew("damaged")
        with suppress(LogUnwritable):
            self._log.expire(synchronised=self.told.synchronised)

    def _report(self, now_s: float) -> None:
        now_at = self._clock.now_at()
        if self._is_open:
            self.reporter.closed(Closed(self._rule, 1.0, Ended.ENDED), self._policy, now_at)
        else:
            picture = None
            if self._chance.random() < 2 / 3:  # of the opened ones, which are half of all
                size_bytes = self._chance.randint(10_000, 40_000)
                picture = Jpeg(hashlib.shake_128(str(now_s).encode()).digest(size_bytes), 480, 360)
            verdict = Opened(self._rule, now_s - 1.0, now_s, Finding(Answer.YES))
            self.reporter.opened(verdict, picture, self._policy, now_at)
        self._is_open = not self._is_open

    def _put(self, build: Build) -> int:
        """Put, and write down before and after: what was begun may arrive, what was kept must."""
        serials: list[Serial] = []
        ids: list[str] = []

        def noted(serial: Serial) -> Record:
            record = build(serial)
            event_id = record.messages[0].event_id
            serials.append(serial)
            ids.append(event_id)
            self._journal.note("begun", id=event_id)
            return record

        put: Callable[[Build], int] = self._spool.put
        result = put(noted)
        self._journal.note(
            "kept", id=ids[-1], epoch=serials[-1].epoch, seq=serials[-1].seq, at_s=time.monotonic()
        )
        return result


def live(orders: Orders) -> None:
    """Be the unit, until told to stop, or killed."""
    logging.basicConfig(
        filename=orders.log,
        level=logging.INFO,
        format=f"%(asctime)s {orders.seed} %(name)s %(levelname)s %(message)s",
        force=True,
    )
    journal = Journal(orders.journal)
    policy = parse_policy(resources.files("edge.defaults").joinpath("policy.json").read_bytes())
    clock = ShiftedClock()
    try:
        spool = Spool.open(orders.spool, max_bytes=orders.max_bytes)
        log = WorkerLog.open(
            orders.spool.with_name(LOG),
            max_bytes=LOG_BYTES,
            pictures_max_bytes=PICTURES_BYTES,
            now_at=clock.now_at,
        )
    except (SpoolError, LogUnusable) as error:
        journal.note("no-spool", error=f"{type(error).__name__}: {error}", at_s=time.monotonic())
        time.sleep(0.2)
        sys.exit(NO_SPOOL)
    try:
        with spool, log:
            _carry(orders, journal, spool, log, policy, clock)
    except Exception:  # noqa: BLE001  whatever it is, it must be told
        journal.note("crashed", trace=traceback.format_exc(), at_s=time.monotonic())
        sys.exit(CRASHED)


def _carry(
    orders: Orders, journal: Journal, spool: Spool, log: WorkerLog, policy: Policy, clock: ShiftedClock
) -> None:
    feeder = Feeder(journal, spool, log, policy, orders, clock)
    feeder.turn()
    feeder.reporter.close_left_open(spool.open_infractions(), policy, feeder.clock.now_at())
    config = BrokerConfig(
        "127.0.0.1", orders.port, "unit-1", keepalive_s=5, connect_timeout_s=3.0, protocol=orders.protocol
    )
    uplink = Uplink(
        spool,
        config,
        TOPICS,
        feeder.birth(),
        clock=feeder.clock,
        backoff=Backoff(0.05, 1.0),
        patience=PATIENCE,
        release="ack",
        gap=feeder.gap,
        synchronised=lambda: feeder.told.synchronised,
        diary=feeder.diary,
    )
    harness = multiprocessing.parent_process()
    status_due_s, said = 0.0, None
    with uplink:
        while not feeder.told.stop and (harness is None or harness.is_alive()):
            feeder.turn()
            if not feeder.told.feeding and time.monotonic() >= status_due_s:
                status_due_s = time.monotonic() + _STATUS_EVERY_S
                status = _status(spool, feeder, uplink)
                if status != said:
                    journal.note("status", **status, at_s=time.monotonic())
                    said = status
            time.sleep(_TURN_S)


def _status(spool: Spool, feeder: Feeder, uplink: Uplink) -> dict[str, int | bool | str | None]:
    depth, link = spool.depth(), uplink.status()
    return {
        "events": depth.events,
        "thumbnails": depth.thumbnails,
        "refused": depth.refused,
        "waiting": feeder.reporter.untold,
        "connected": link.connected,
        "error": link.last_error,
    }
