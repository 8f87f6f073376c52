"""`deskwatch demo`: a broker, a unit on replayed footage, and a subscriber that shows what arrived."""

import contextlib
import datetime as dt
import hashlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from edge import offline
from edge.backoff import Backoff
from edge.board import Board
from edge.border import read_bounded
from edge.capture.frame import Camera, EndOfFootage, Frame
from edge.capture.replay import ReplayCamera
from edge.clip import desk_clip
from edge.clock import Clock, SystemClock
from edge.notice import Notice
from edge.output import complain, make_folder, put
from edge.policy.breaks import BreakBy
from edge.policy.document import MAX_POLICY_BYTES, Policy, PolicyError, check_labels, read_policy
from edge.running import running
from edge.stopping import Stop, stop_on_signal
from edge.story import printable, told
from edge.unit_settings import Settings
from edge.uplink.broker import LocalBroker, local_broker
from edge.uplink.link import BrokerConfig
from edge.uplink.listener import Listener, listen
from edge.uplink.messages import decode_event, decode_health, decode_state
from edge.uplink.signals import Received
from edge.uplink.topics import Topics
from edge.uplink.wire import InvalidMessage
from edge.vision.detector import Detector
from edge.vision.interpreter import Backend
from edge.vision.model_file import find_card
from edge.watch import frozen_after

TOPICS = Topics("demo", "desk-1")
PROMPT = Backoff(base_s=0.2, cap_s=2.0)
"""The broker is on this machine, and nobody else's."""
LAST_WORDS_S = 5.0
"""How long to wait for the unit's goodbye once it has stopped."""


class View(Protocol):
    """What is done with the messages as they arrive."""

    def show(self, message: Received) -> None:
        """Take one message."""
        ...


class Playlist:
    """Plays one camera after the other, as one camera."""

    def __init__(self, cameras: Sequence[Camera]) -> None:
        self._waiting = list(cameras)

    def open(self) -> None:
        """Open the one that plays."""
        self._waiting[0].open()

    def frame(self, timeout_s: float) -> AbstractContextManager[Frame]:
        """Give the next frame, of the next camera when one has ended."""
        return self._frame(timeout_s)

    @contextlib.contextmanager
    def _frame(self, timeout_s: float) -> Iterator[Frame]:
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    frame = stack.enter_context(self._waiting[0].frame(timeout_s))
                    break
                except EndOfFootage:
                    if len(self._waiting) == 1:
                        raise
                    self._waiting.pop(0).close()
                    self._waiting[0].open()
            yield frame

    @property
    def held(self) -> bool:
        """Return False: footage is let go of at once."""
        return False

    def close(self) -> None:
        """Close the one that plays."""
        self._waiting[0].close()


@dataclass(slots=True)
class Lines:
    """One line of JSON per message, or of text where there is no terminal."""

    as_json: bool

    def show(self, message: Received) -> None:
        """Print a message."""
        put(json_line(message) if self.as_json else printable(_sentence(message)))


@dataclass(slots=True)
class DemoUnit:
    """The watch and its uplink in a thread, so that the terminal stays free."""

    sources: Sequence[Path]
    detector: Detector
    policy: tuple[Policy, bytes]
    broker: BrokerConfig
    state: Path
    stop: Stop
    failure: BaseException | None = None
    cameras: list[ReplayCamera] = field(init=False)
    thread: threading.Thread = field(init=False)
    _clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self._clock = SystemClock(self.stop)
        self.cameras = [ReplayCamera(source, self._clock, pace="real") for source in self.sources]
        self.thread = threading.Thread(target=self._run, name="deskwatch-watch")

    def problems(self) -> list[str]:
        """Return what of the footage was not seen, in words."""
        played = zip(self.sources, self.cameras, strict=True)
        return [problem for source, camera in played for problem in offline.problems(source, camera)]

    def _run(self) -> None:
        settings = Settings(TOPICS, self.state, self.broker, self.policy, backoff=PROMPT)
        try:
            notice = Notice(self.state)  # it looks at footage: there is nobody who would have to be asked
            notice.accept(notice.version, BreakBy.LOCAL, self._clock.now_at())
            with running(settings, self.detector, self._clock) as unit:
                unit.watch(Playlist(self.cameras), frozen_after(self.sources), self.stop)
        except BaseException as error:  # noqa: BLE001  raised again where the demo waits
            self.failure = error


def run(
    sources: Sequence[Path] | None,
    model: str,
    policy_path: Path,
    out: Path,
    for_s: float | None,
    *,
    as_json: bool,
    threads: int = 2,
    backend: Backend = "auto",
) -> list[str]:
    """Play the footage to its end, for `for_s`, or until a signal; write pictures and a page to `out`.

    Without `sources` it plays the project's own clip. Returns what of the footage was not seen, in words.
    """
    footage = list(sources) if sources else [desk_clip()]
    detector = Detector.load(find_card(model), threads=threads, backend=backend)
    policy = read_policy(policy_path)
    check_labels(policy, detector.card.named_labels)
    _check_on_shift(policy)
    make_folder(out)
    board = Board(TOPICS.root, out)
    with (
        stop_on_signal() as stop,
        tempfile.TemporaryDirectory(prefix="deskwatch-demo-") as folder,
        local_broker() as broker,
    ):
        complain(f"broker: {broker.name} on {broker.host}:{broker.port}, MQTT {broker.protocol}")
        own = (policy, read_bounded(policy_path, MAX_POLICY_BYTES))
        unit = DemoUnit(footage, detector, own, _config(broker, TOPICS.unit), Path(folder), stop)
        try:
            with (
                listen(_config(broker, "demo-subscriber"), f"{TOPICS.root}/#") as listener,
                board.live() if _fancy(as_json) else contextlib.nullcontext(Lines(as_json)) as view,
            ):
                _watch_and_show(unit, listener, board, view, for_s)
        finally:
            footer = f"{detector.card.name}, policy version {policy.version}, {broker.name}"
            page = board.write_page(footer)
            complain(f"{board.summary()}; pictures and page: {page}")
    if unit.failure is not None:
        raise unit.failure
    return unit.problems()


def _check_on_shift(policy: Policy) -> None:
    """Raise PolicyError where nothing would be watched now: the demo plays in real time."""
    now_at = dt.datetime.now(dt.UTC)
    start_at = offline.start_of_watch(policy, now_at)
    if start_at > now_at:
        when = f"{start_at.astimezone(policy.zone):%a %H:%M} {policy.timezone}"
        raise PolicyError("$.shifts", f"wanted a shift that is on now, got one that starts {when}")


def _watch_and_show(
    unit: DemoUnit, listener: Listener, board: Board, view: View, for_s: float | None
) -> None:
    """Pass on each message until the unit has said goodbye."""
    unit.thread.start()
    end_s = None if for_s is None else time.monotonic() + for_s
    try:
        goodbye_s = None
        while not board.offline and (goodbye_s is None or time.monotonic() < goodbye_s):
            message = listener.receive(0.1)
            if message is not None:
                board.take(message)
                view.show(message)
            if end_s is not None and time.monotonic() >= end_s:
                unit.stop.end()
            if goodbye_s is None and not unit.thread.is_alive():
                goodbye_s = time.monotonic() + LAST_WORDS_S
    finally:
        unit.stop.end()
        unit.thread.join()


def json_line(message: Received) -> str:
    """Return a message as `{"topic", "qos", "retain", "payload"}`; a picture as its size and hash."""
    line = {"topic": message.topic, "qos": message.qos, "retain": message.retain}
    try:
        return json.dumps({**line, "payload": msgspec.json.decode(message.payload)})
    except (msgspec.DecodeError, ValueError, RecursionError):
        digest = hashlib.sha256(message.payload).hexdigest()
        return json.dumps({**line, "payload": {"bytes": len(message.payload), "sha256": digest}})


def _sentence(message: Received) -> str:
    """Return a message as a line for people."""
    level = message.topic.removeprefix(f"{TOPICS.root}/")
    try:
        if level == "event":
            event = decode_event(message.payload)
            return f"event  {told(event)}"
        if level == "state":
            state = decode_state(message.payload)
            return f"state  {state.capture}{f': {state.reason}' if state.reason else ''}"
        if level == "health":
            health = decode_health(message.payload)
            return f"health  {health.frames} frames, {health.inferences} inferences"
    except InvalidMessage as error:
        return f"{level}  {error}"
    return f"{level}  {len(message.payload)} bytes"


def _config(broker: LocalBroker, client_id: str) -> BrokerConfig:
    return BrokerConfig(host=broker.host, port=broker.port, client_id=client_id, protocol=broker.protocol)


def _fancy(as_json: bool) -> bool:
    return not as_json and sys.stdout.isatty()
