"""`cmd/{name}`: what comes is judged, refused or handed on, and answered on `reply/{name}`.

It runs in the uplink's thread, so nothing here waits: what takes time answers later, from whatever thread.
"""

import datetime as dt
import logging
import re
from collections.abc import Callable
from typing import Annotated, NoReturn, Protocol

import msgspec
from msgspec import Meta

from edge.clock import Clock
from edge.errors import EdgeError
from edge.uplink.allowance import Allowance
from edge.uplink.command_messages import (
    COMMANDS,
    Break,
    BreakResult,
    Command,
    CommandError,
    Diagnose,
    Identify,
    Reload,
    Reply,
    Result,
    Resume,
    ResumeResult,
    SpotCheck,
    decode_command,
)
from edge.uplink.inbox import Refusal
from edge.uplink.signals import Received
from edge.uplink.wire import MAX_ID_CHARS, InvalidMessage, Problem, moment, timestamp

log = logging.getLogger(__name__)

MAX_COMMAND_BYTES = 4096
AHEAD_MAX = dt.timedelta(days=1)
AT_ONCE, EVERY_S = 60, 30.0
"""So many commands at once, then one in so long; and as many answers to what is refused.

Each leaves up to 6 kB in the worker's log, which holds two days of the worst that this allows.
"""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
"""What may stand in the topic of a reply."""
_PATH = re.compile(r" - at `(\$[^`]*)`\Z")
"""msgspec ends its messages with the path of the value."""

Answer = Callable[[Result | Problem], None]
"""Takes what became of a command, once, from any thread."""


class NotDone(EdgeError):
    """A command cannot be done now: its code says why; send another, with a new id, once that is over."""

    def __init__(self, code: CommandError, problem: str) -> None:
        super().__init__(problem)
        self.code = code


class Unit(Protocol):
    """Who does it. Each returns at once; what cannot be done raises NotDone or is answered with a Problem."""

    def start_break(self, reason: str) -> BreakResult:
        """Stop watching. Never raises NotDone."""
        ...

    def end_break(self, reason: str) -> ResumeResult:
        """End the break that is on."""
        ...

    def look_now(self, answer: Answer) -> None:
        """Look, and answer with what is seen."""
        ...

    def diagnose(self, answer: Answer) -> None:
        """Answer with how the unit is."""
        ...

    def identify(self, for_s: float, answer: Answer) -> None:
        """Blink for so long."""
        ...

    def reload(self, answer: Answer) -> None:
        """Start over with the settings as they are in the file, if they are good."""
        ...


class Commands:
    """Judges what comes on `cmd/+`. `take` is the inbox's handler."""

    def __init__(
        self,
        unit: Unit,
        reply: Callable[[str, Reply], object],
        remember: Callable[[str, dt.datetime, dt.datetime], bool],
        clock: Clock,
        synchronised: Callable[[], bool],
        note: Callable[[str, str], object] = lambda _name, _payload: None,
        doing: Allowance | None = None,
        refusing: Allowance | None = None,
    ) -> None:
        """`remember` notes an id for good, with its expiry and the time now; False: it was known.

        `note` tells the worker of a command before it is done; one for which it raises EdgeError is not done.
        `doing` is spent by commands, `refusing` by answers to what is refused.
        """
        self._unit, self._reply, self._remember = unit, reply, remember
        self._clock, self._synchronised, self._note = clock, synchronised, note
        self._doing = doing or Allowance(AT_ONCE, EVERY_S, clock.now_s)
        self._refusing = refusing or Allowance(AT_ONCE, EVERY_S, clock.now_s)

    def take(self, message: Received) -> None:
        """Do a command, or raise Refusal, which was answered already where the command's id can be read.

        Of refusals that come faster than the worker's log should hold, not all are answered.
        """
        name = message.topic.rpartition("/")[2]
        try:
            command, told = self._judge(name, message)
        except Refusal as refusal:
            command_id = read_id(message.payload)
            if command_id is not None and _NAME.match(name) and self._refusing.spend():
                problem = Problem(
                    code=refusal.code, path=refusal.path[:256], problem=refusal.problem[:1024] or "refused"
                )
                self._reply(name, Reply(id=command_id, at=self._now(), error=problem))
            raise
        log.info("command %s, id %s", name, command.id)
        self._do(name, command, told=told)

    def _judge(self, name: str, message: Received) -> tuple[Command, bool]:
        """Return a command that is to be done, and whether it is to be told of. Raises Refusal."""
        if name not in COMMANDS:
            _refuse(CommandError.UNKNOWN, "$", f"wanted one of {', '.join(COMMANDS)}, got {name[:64]!r}")
        if message.retain:
            _refuse(
                CommandError.RETAINED, "$", "wanted a command that is not retained: whoever comes gets it"
            )
        command, expires_at = _read(name, message.payload)
        now_at, may_judge = self._clock.now_at(), self._synchronised()
        # A unit that does not know the time must not keep a worker from a break, or in one, or hide why.
        if may_judge or not isinstance(command, Break | Resume | Diagnose):
            _check_times(expires_at, now_at, "" if may_judge else " of a unit that does not know the time")
        else:
            expires_at = max(expires_at, now_at + AHEAD_MAX)
        told = self._check_new(command, expires_at, now_at)
        if told:
            self._tell_worker(name, command)
        return command, told

    def _tell_worker(self, name: str, command: Command) -> None:
        try:
            self._note(name, msgspec.json.encode(command).decode())
        except EdgeError as error:
            if not isinstance(command, Break):
                _refuse(
                    CommandError.FAILED,
                    "$",
                    f"wanted a disk that takes it into the worker's log, got: {error}",
                )
            log.warning("a break by command is not in the worker's log: %s", error)

    def _check_new(self, command: Command, expires_at: dt.datetime, now_at: dt.datetime) -> bool:
        """Return whether the worker and the sender are to be told of it. Raises Refusal."""
        if not self._doing.spend():
            if isinstance(command, Break):
                # Done all the same; only its id is not kept. If it starts one, the break's event says so.
                return self._refusing.spend()
            wanted = f"wanted at most {AT_ONCE} commands at once, and one in {EVERY_S:g} s after that"
            _refuse(CommandError.BUSY, "$", f"{wanted}, got more")
        try:
            known = not self._remember(command.id, expires_at, now_at)
        except EdgeError as error:
            if not isinstance(command, Break):  # to do that twice takes nothing from the worker
                _refuse(CommandError.FAILED, "$", f"wanted a disk that remembers the id, got: {error}")
            log.warning("a break is not remembered as a command: %s", error)
            return True
        if known:
            _refuse(
                CommandError.REPLAYED, "$.id", f"wanted an id that is new to the unit, got {command.id!r}"
            )
        return True

    def _do(self, name: str, command: Command, *, told: bool) -> None:
        def answer(what: Result | Problem) -> None:
            if not told:
                return
            result, error = (None, what) if isinstance(what, Problem) else (what, None)
            try:
                self._reply(name, Reply(id=command.id, at=self._now(), result=result, error=error))
            except InvalidMessage as why:  # whoever answers may be the watch, which this must not end
                log.error("the answer to command %s cannot be sent: %s", name, why)
                sorry = Problem(
                    code=CommandError.FAILED, problem="wanted an answer that can be written as JSON"
                )
                self._reply(name, Reply(id=command.id, at=self._now(), error=sorry))

        try:
            self._hand_on(command, answer)
        except NotDone as why:
            answer(Problem(code=why.code, problem=str(why)[:1024]))
        except Exception as error:
            answer(Problem(code=CommandError.FAILED, problem=f"{type(error).__name__}: {error}"[:1024]))
            raise

    def _hand_on(self, command: Command, answer: Answer) -> None:
        match command:
            case Break():
                answer(self._unit.start_break(command.reason))
            case Resume():
                answer(self._unit.end_break(command.reason))
            case SpotCheck():
                self._unit.look_now(answer)
            case Diagnose():
                self._unit.diagnose(answer)
            case Identify():
                self._unit.identify(command.for_s, answer)
            case Reload():
                self._unit.reload(answer)
            case _:
                raise NotDone(CommandError.FAILED, f"wanted a command that is wired, got {command}")

    def _now(self) -> str:
        return timestamp(self._clock.now_at())


class _Id(msgspec.Struct, frozen=True):
    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]


_ids = msgspec.json.Decoder(_Id)


def read_id(payload: bytes) -> str | None:
    """Return the id in a payload that need not be a command at all; None where there is none that is sane."""
    if len(payload) > MAX_COMMAND_BYTES:
        return None
    try:
        found = _ids.decode(payload).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.isprintable() else None


def _read(name: str, payload: bytes) -> tuple[Command, dt.datetime]:
    """Return the command and when it expires. Raises Refusal."""
    if len(payload) > MAX_COMMAND_BYTES:
        _refuse(CommandError.INVALID, "$", f"wanted at most {MAX_COMMAND_BYTES} bytes, got {len(payload)}")
    try:
        command = decode_command(name, payload)
    except InvalidMessage as error:
        found = _PATH.search(str(error))
        _refuse(CommandError.INVALID, found[1] if found else "$", str(error))
    if not command.id.isprintable():
        _refuse(CommandError.INVALID, "$.id", "wanted printable characters, got others")
    try:
        return command, moment(command.expires_at)
    except InvalidMessage as error:
        _refuse(CommandError.INVALID, "$.expires_at", str(error))


def _check_times(expires_at: dt.datetime, now_at: dt.datetime, whose: str) -> None:
    """Raise Refusal where a command is too old, or could be held back for too long."""
    clock = f"the clock{whose}, {timestamp(now_at)}"
    if expires_at <= now_at:
        wanted = f"wanted a time after {clock}"
        _refuse(CommandError.EXPIRED, "$.expires_at", f"{wanted}, got {timestamp(expires_at)}")
    if expires_at > now_at + AHEAD_MAX:
        wanted = f"wanted at most a day after {clock}"
        _refuse(CommandError.TOO_FAR_AHEAD, "$.expires_at", f"{wanted}, got {timestamp(expires_at)}")


def _refuse(code: CommandError, path: str, problem: str) -> NoReturn:
    raise Refusal(code.value, path, problem)
