"""The unit: the one place that wires the parts, and owns both loops."""

import random
from collections.abc import Callable
from threading import Event

from edge.breaks import Breaks, Notebook
from edge.capture.frame import Camera
from edge.clock import Clock
from edge.clock_keeper import ClockKeeper
from edge.config import Config
from edge.counts import Counts
from edge.desk import Desk
from edge.device.boot import boot_id
from edge.device.clock_quality import clock_is_synchronised
from edge.device.hardware import Hardware
from edge.device.system import System
from edge.device.watchdog import Progress
from edge.diary import WorkersDiary
from edge.error_ring import ErrorRing
from edge.examination import AT_ONCE as EXAMINED_AT_ONCE
from edge.examination import EVERY_S as EXAMINED_EVERY_S
from edge.examination import Examination, Examine
from edge.facts import (
    Facts,
    camera_facts,
    link_facts,
    policy_facts,
    spool_facts,
    unit_facts,
    watch_facts,
)
from edge.follower import Follower
from edge.from_before import left_open, log_is_lost, note_release
from edge.health import Vitals, health_of
from edge.metrics import WRITE_EVERY_S, Textfile
from edge.notebook import TwoPlaces
from edge.notice import Notice
from edge.orders import Orders
from edge.policy.breaks import BreakChange, Now
from edge.policy.document import shortest_hold_s
from edge.provision.standing import Reminder
from edge.repair import Repair
from edge.requests import Requests
from edge.safe import Blindfold, NoCamera, SafeWatch
from edge.state_folder import TWIN_FOLDER
from edge.support.asked import AT_ONCE as BUNDLES_AT_ONCE
from edge.support.asked import EVERY_S as BUNDLES_EVERY_S
from edge.support.asked import BundleDesk
from edge.teller import Teller, birth
from edge.unit_settings import Settings
from edge.uplink.activity import Beats
from edge.uplink.allowance import Allowance, KeptAllowance
from edge.uplink.carry import REPORTS_AT_ONCE, REPORTS_EVERY_S, Uplink
from edge.uplink.clock_fix import UNKNOWN_BOOT
from edge.uplink.commands import AT_ONCE, EVERY_S, Commands
from edge.uplink.event_records import Build, Origin, gap_record
from edge.uplink.inbox import Inbox
from edge.uplink.messages import Capture, Health, Model
from edge.uplink.records import LostRange, Record, Serial, SpoolCorrupt
from edge.uplink.report import Reporter
from edge.uplink.spool import Spool
from edge.uplink.twin import TRIALS_AT_ONCE, TRIALS_EVERY_S, Twin
from edge.uplink.twin_state import Proof
from edge.uplink.twin_store import TwinStore
from edge.vision.detector import Detector
from edge.vision.golden import proven
from edge.watch import Watch
from edge.worklog.log import WorkerLog

_CHANCE = random.SystemRandom()


class Unit:
    """The parts of a running unit. The watch runs in the caller's thread, all else in the uplink's."""

    def __init__(
        self,
        settings: Settings,
        detector: Detector | Blindfold,
        clock: Clock,
        spool: Spool,
        worker_log: WorkerLog,
        *,
        hardware: Hardware | None = None,
        reload: Callable[[], None] | None = None,
        examine: Examine | None = None,
        errors: ErrorRing | None = None,
    ) -> None:
        """`reload` checks the settings and has the unit start over with them; raises EdgeError.

        `examine` runs the diagnosis's checks, and `errors` has what was logged. A unit that is given a
        blindfold is in safe mode.
        """
        topics = settings.topics
        self._settings, self._clock, self._spool = settings, clock, spool
        self._detector = detector
        self._examine, self._errors = examine, errors or ErrorRing()
        self._damage: SpoolCorrupt | None = None
        self._golden: str | None = None
        """Whether the model found in the drawing what its card says; None: not known."""
        self._started_s = self._spool_s = clock.now_s()
        model = Model(name=detector.card.name, sha256=detector.card.sha256)
        self._origin = Origin(topics, boot_id() or UNKNOWN_BOOT, model)
        self._keeper = ClockKeeper(clock, spool, self._origin, clock_is_synchronised, worker_log.keep_until)
        self._watch: Watch | SafeWatch | None = None
        self.twin = Twin(
            TwinStore(settings.state / TWIN_FOLDER),
            settings.trusted,
            topics.unit,
            detector.card.named_labels,
            settings.policy,
            clock,
            confirm_timeout_s=settings.confirm_timeout_s,
            report=lambda reported: self.uplink.report(reported),  # noqa: PLW0108  there is no uplink yet
            proof=self._proof,
            session=spool.session,
            plain_broker=settings.broker.tls is None,
            trials=self._allowance("trials", TRIALS_AT_ONCE, TRIALS_EVERY_S),
        )
        state = birth(self._origin, self.twin.policy, spool.session, clock)
        self._diary = WorkersDiary(worker_log, topics, clock.now_at, clock.now_s)
        self._vitals = Vitals(System(), settings.state, clock, spool, self._origin.boot_id)
        self._textfile = None if settings.textfile is None else Textfile(settings.textfile)
        self._textfile_due_s = clock.now_s()
        self._follower = Follower(self.twin, settings, clock, self._diary)
        self.reporter = Reporter(
            self._origin,
            self._put,
            _CHANCE,
            clock_is_synchronised,
            clock,
            self._spool.skip,
            self._diary.keep,
        )
        self.reporter.close_left_open(left_open(spool), self.twin.policy, clock.now_at())
        note_release(spool, settings.release)
        self.requests = Requests(self._make_breaks(), clock)
        self.desk = Desk(
            hardware or Hardware(),
            topics.unit,
            Notice(settings.state),
            Repair(TwoPlaces(settings.state, spool, "repair")),
            self.requests,
            worker_log,
            clock,
            facts=self._facts,
            synchronised=clock_is_synchronised,
            logged=self._errors.logged,
            raised=lambda: self.teller.state.alarms,
        )
        if settings.config is not None:
            self.desk.make_bundle = self._bundles(settings.config, worker_log).make
        if log_is_lost(spool, worker_log):
            self.desk.block_lost_log()
        self.desk.note("camera", Capture.STARTING.value)
        if settings.textfile is not None:
            self.desk.note("figures on how the unit fares go to a file", str(settings.textfile)[:256])
        self.beats = Beats(clock, clock_is_synchronised)
        self.uplink = Uplink(
            spool,
            self._follower.broker,
            topics,
            state,
            clock=clock,
            backoff=settings.backoff,
            chance=_CHANCE.random,
            inbox=self._make_inbox(reload),
            release=settings.release,
            gap=self._gap,
            synchronised=clock_is_synchronised,
            on_turn=self._turn,
            diary=self._diary,
            reports=self._allowance("reports", REPORTS_AT_ONCE, REPORTS_EVERY_S),
            health=self.health,
            before=settings.before,
        )
        tls = settings.broker.tls
        self._reminder = Reminder(None if tls is None else tls.certificate_file, clock.now_at, clock.now_s)
        self.teller = Teller(
            self.reporter,
            self.uplink.announce,
            state,
            clock,
            clock_is_synchronised,
            lambda: self.twin.policy,
            lambda: (
                *self.desk.alarms(),
                *self._diary.alarms(),
                *self._vitals.alarms(),
                *self._reminder.alarms(),
            ),
            lambda text: self.desk.note("camera", text),
        )

    def watch(self, camera: Camera, frozen_after_s: float, stop: Event) -> None:
        """Run the watch loop here, until `stop` is set or the footage ends."""
        assert not isinstance(self._detector, Blindfold), "wanted a unit with eyes, got one in safe mode"
        self._golden = proven(self._detector)
        self._watch = Watch(
            self.desk.shutter(camera),
            self._detector,
            lambda: self.twin.policy,
            self.teller,
            self._clock,
            _CHANCE,
            beats=self.beats,
            requests=self.requests,
            frozen_after_s=frozen_after_s,
        )
        self._watch.run(stop)

    def idle(self, why: str, stop: Event) -> None:
        """Run in safe mode here until `stop` is set; `why` the unit failed, as far as is known."""
        shutter = self.desk.shutter(NoCamera(), safe=True)
        self._watch = SafeWatch(shutter, self.teller, self._clock, self.requests, why)
        self._watch.run(stop)

    def progress(self) -> Progress | None:
        """Return when what was done last; None before the watch begins. From any thread."""
        return None if self._watch is None else self._watch.progress(self._spool_s)

    def summary(self) -> str:
        """Return in a few words what the unit does; from any thread."""
        status = self.uplink.status()
        link = "connected to" if status.connected else "not connected to"
        return f"{self.teller.state.capture}, {link} {status.address}"

    def health(self) -> Health:
        """Return how the unit fares."""
        return health_of(self._facts(), self.teller.state, self._clock.now_at())

    # What is done in the uplink's thread, at least once a second.

    def _turn(self) -> None:
        self._spool_s = self._clock.now_s()
        self._keeper.turn()
        self.requests.turn()
        self.desk.turn()
        self._mind_spool()
        self._vitals.turn()
        self._write_textfile()
        self.twin.turn()
        self._follower.turn(self.uplink, self.desk.logs_begun)
        self.beats.link(connected=self.uplink.status().connected)

    def _write_textfile(self) -> None:
        if self._textfile is not None and self._clock.now_s() >= self._textfile_due_s:
            self._textfile_due_s = self._clock.now_s() + WRITE_EVERY_S
            self._textfile.write(self.health())

    def _mind_spool(self) -> None:
        damage, self._damage = self._damage, None
        if damage is not None:
            self.uplink.mend(damage)

    def _proof(self) -> Proof:
        watch = self._watch
        return self._follower.proof(
            self.uplink.status(), watch.evidence if isinstance(watch, Watch) else None
        )

    def _put(self, build: Build) -> int:
        """Spool a record. One that the spool is too damaged for waits until the uplink has mended it."""
        try:
            return self._spool.put(build)
        except SpoolCorrupt as error:
            self._damage = error
            raise

    def _facts(self) -> Facts:
        counts = self._watch.counts if isinstance(self._watch, Watch) else Counts()
        return {
            **unit_facts(self.teller.state, self._spool.session, self._clock, self._started_s),
            "unit.safe": float(isinstance(self._detector, Blindfold)),
            **policy_facts(self.twin.reported),
            **link_facts(self.uplink.status(), self._clock.now_s()),
            **spool_facts(self._spool, self._clock.now_at()),
            **self.desk.facts(),
            **self._errors.facts(),
            **self._vitals.facts(),
            "clock.synchronised": float(clock_is_synchronised()),
            **watch_facts(counts, self._clock.now_s()),
            **camera_facts(counts, self._clock.now_s(), is_open=self.desk.camera_open),
            "model.golden": self._golden,
            "policy.shortest_hold_s": shortest_hold_s(self.twin.policy),
            "break.left_s": self.requests.breaks.left_s(),
        }

    def _gap(self, serial: Serial, lost: LostRange) -> Record:
        return gap_record(self._origin, self._keeper.stamp(), lost, serial)

    def _make_breaks(self) -> Breaks:
        kept = TwoPlaces(self._settings.state, self._spool)
        return Breaks(
            self._clock,
            lambda: self.twin.policy.breaks.max_s,
            self._tell_break,
            synchronised=clock_is_synchronised,
            notebook=Notebook(kept.read, kept.write),
            boot_id=boot_id(),
        )

    def _tell_break(self, change: BreakChange, now: Now) -> None:
        self.reporter.break_changed(change, now)

    def _bundles(self, config: Config, worker_log: WorkerLog) -> BundleDesk:
        return BundleDesk(
            config=config,
            state=self._settings.state,
            now_at=self._clock.now_at,
            facts=self._facts,
            errors=self._errors.logged,
            policy=lambda: (self.twin.policy, self.twin.reported.running.sha256),
            note=worker_log.append,
            allowance=self._allowance("bundles", BUNDLES_AT_ONCE, BUNDLES_EVERY_S),
        )

    def _allowance(self, name: str, at_once: int, every_s: float) -> Allowance:
        kept = KeptAllowance(self._spool, name, boot_id())
        return Allowance(at_once, every_s, self._clock.now_s, kept)

    def _make_inbox(self, reload: Callable[[], None] | None) -> Inbox:
        topics = self._settings.topics
        allowance = self._allowance("diagnoses", EXAMINED_AT_ONCE, EXAMINED_EVERY_S)
        examination = Examination(self._facts, self._examine, allowance)
        orders = Orders(self.requests, examination, self.desk.indicator, reload)
        commands = Commands(
            orders,
            lambda name, reply: self.uplink.reply(name, reply),  # noqa: PLW0108  there is no uplink yet
            self._spool.remember,
            self._clock,
            clock_is_synchronised,
            self._diary.command,
            self._allowance("commands", AT_ONCE, EVERY_S),
            self._allowance("refusals", AT_ONCE, EVERY_S),
        )
        routes = {topics.command("+"): commands.take, topics.activity: self.beats.take}
        if not isinstance(self._detector, Blindfold):
            routes[topics.desired] = self.twin.desired
        # else no policy could prove itself, and would be blocked: it waits at the broker, retained.
        return Inbox(routes)
