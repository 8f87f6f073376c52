"""What a check is: a probe with a name, and a hint for each thing that it can find wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.clock import Clock
from edge.config import Config
from edge.control.protocol import LoggedError
from edge.errors import EdgeError
from edge.facts import Facts
from edge.uplink.check_messages import CheckResult as Result
from edge.uplink.check_messages import CheckStatus as Status
from edge.uplink.messages import Alarm

__all__ = ("Check", "Patient", "Result", "Status", "Verdict", "failed", "passed", "skipped", "warned")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe found. Texts are for people, of one line; no secret, no name of a network, no picture."""

    status: Status
    value: str = ""
    """What was found: `81 °C`."""
    limit: str = ""
    """What was wanted: `under 80 °C`."""
    code: str = ""
    """What is wrong, for programs: `too-hot`; a key of the check's `hints`. Empty where nothing is."""


@dataclass(frozen=True, slots=True)
class Patient:
    """The unit that is looked at, and by what. A probe reads, and changes nothing that is kept."""

    clock: Clock
    config_path: Path
    config: Config | None = None
    """None: unit.toml cannot be used, for the reason that `config_error` gives."""
    config_error: str = ""
    facts: Facts | None = None
    """What the running unit says of itself (`edge/facts.py`); None: none runs, see `silence`."""
    silence: str = ""
    """Why there are no `facts`."""
    trouble: EdgeError | None = None
    """What came of asking the running unit, where it gave no `facts`."""
    errors: tuple[LoggedError, ...] = ()
    """What the running unit logged as errors last; each has a text that must not leave the unit."""
    alarms: tuple[Alarm, ...] = ()
    """What the running unit says that somebody should see to."""
    offline: bool = False
    """Nothing may be sent over a network."""
    inside: bool = False
    """The unit itself looks: camera, model and broker are in use by it, and its `facts` say how they are."""
    root: Path = field(default=Path("/"))
    """Below it lie /proc, /sys, /run and /etc/systemd; another one in tests only."""
    found: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    """What one probe found out at some cost, for those after it: a model that was run, a look taken."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. What its `probe` raises counts as "could not run"."""

    name: str
    probe: Callable[[Patient], Verdict]
    hints: Mapping[str, str]
    """What to do, by the code of what is wrong: one sentence or two that a technician can act on."""
    timeout_s: float = 5.0


def passed(value: str, limit: str = "") -> Verdict:
    """Return that all is as wanted."""
    return Verdict(Status.PASS, value, limit)


def warned(code: str, value: str, limit: str = "") -> Verdict:
    """Return that somebody should see to it."""
    return Verdict(Status.WARN, value, limit, code)


def failed(code: str, value: str, limit: str = "") -> Verdict:
    """Return that the unit does not do its work, or soon will not."""
    return Verdict(Status.FAIL, value, limit, code)


def skipped(why: str) -> Verdict:
    """Return that it could not be told here and now."""
    return Verdict(Status.SKIP, why)
