"""From what a unit knows to what a support bundle may have of it: every value by name, through a table."""

import platform
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, cast

import msgspec

from edge import __version__
from edge.config import Config
from edge.control.protocol import CheckSaid, LoggedError
from edge.diagnosis.check import Result
from edge.policy.document import Policy
from edge.support.bundle import MAX_ERRORS, ErrorSaid, PolicySaid, Value, Versions
from edge.support.pseudonyms import Pseudonyms
from edge.support.tables import FACTS, FACTS_LEFT_OUT, FLAVOURS, INTERPRETERS, SETTINGS
from edge.support.templates import is_ours
from edge.support.treatment import OTHER, Treatment, Unfit

UNITS = (
    "°C",
    "%",
    "s",
    "ms",
    "min",
    "h",
    "d",
    "days",
    "B",
    "kB",
    "MB",
    "GB",
    "KiB",
    "MiB",
    "GiB",
    "Hz",
    "dBm",
    "/s",
)
"""What may stand behind a number that a check found; what has none may be a number that says who."""
_NUMBER = re.compile(rf"(-?[0-9]{{1,9}}(?:\.[0-9]{{1,6}})?) ?({'|'.join(map(re.escape, UNITS))})")
_KERNEL = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})(?:[-+](.*))?")
_BOARD = re.compile(
    r"Raspberry Pi (?:[0-9]{1,3}|Zero|Compute Module [0-9]{1,2})"
    r"(?: Model [AB](?: Plus)?| [0-9]{1,2}| W)?(?: W)?(?: Rev [0-9.]{1,6})?"
)
_VERSION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,4}(?:(?:a|b|rc|\.post|\.dev)[0-9]{1,6})?")
_LEVELS = ("warning", "error", "critical")
_Level = Literal["warning", "error", "critical"]


def facts_said(facts: Mapping[str, object], names: Pseudonyms) -> tuple[dict[str, Value], int]:
    """Return the facts that a bundle has, and how many are neither in it nor left out on purpose."""
    known = {name: value for name, value in facts.items() if name not in FACTS_LEFT_OUT}
    return _through(FACTS, known, names)


def settings_said(config: Config, names: Pseudonyms) -> dict[str, Value]:
    """Return the settings that a bundle has."""
    flat = {
        f"{table}.{key}": getattr(getattr(config, table), key)
        for table in config.__struct_fields__
        for key in getattr(config, table).__struct_fields__
    }
    return _through(SETTINGS, flat, names)[0]


def policy_said(policy: Policy, sha256: str, names: Pseudonyms) -> PolicySaid:
    """Return how much of what the policy has."""
    kinds = Counter(str(rule.__struct_config__.tag) for rule in policy.rules)
    return msgspec.convert(
        {
            "version": policy.version,
            "document": names.name("policy", sha256),
            "watch": policy.watch.__struct_config__.tag,
            "rules": dict(sorted(kinds.items())),
            "shifts": len(policy.shifts),
            "masks": len(policy.masks),
            "break_max_s": policy.breaks.max_s,
            "retain_days": policy.thumbnail.retain_days,
            "sealed": policy.thumbnail.recipient is not None,
            "own_broker": policy.broker is not None,
        },
        PolicySaid,
    )


def check_said(result: Result) -> CheckSaid:
    """Return how a check ended; of the value it found, a number with its unit, or nothing."""
    found = _NUMBER.fullmatch(result.value)
    number, unit = (float(found[1]), found[2]) if found else (None, "")
    return CheckSaid(name=result.name, status=result.status.value, code=result.code, number=number, unit=unit)


def checks_said(
    checks: Iterable[CheckSaid], known: Mapping[str, Collection[str]]
) -> tuple[tuple[CheckSaid, ...], int]:
    """Return the checks that are ours, with a code and a unit of ours, once each; and how many are not.

    `known`: the codes of each check, by its name.
    """
    said: dict[str, CheckSaid] = {}
    left_out = 0
    for check in checks:
        ours = check.code in ("", *known.get(check.name, ())) and check.unit in ("", *UNITS)
        if check.name in known and ours and check.name not in said:
            said[check.name] = check
        else:
            left_out += 1
    return tuple(said.values()), left_out


def errors_said(records: Iterable[LoggedError]) -> tuple[tuple[ErrorSaid, ...], int]:
    """Return the messages that are constants of our source, the commonest first; and how many others came."""
    counts: Counter[tuple[str, str, str]] = Counter()
    left_out = 0
    for record in records:
        level = record.level.lower()
        if level in _LEVELS and is_ours(record.logger, record.template):
            counts[level, record.logger, record.template] += 1
        else:
            left_out += 1
    common = counts.most_common()
    left_out += sum(count for _, count in common[MAX_ERRORS:])
    said = (
        ErrorSaid(level=cast("_Level", level), logger=logger, template=template, count=count)
        for (level, logger, template), count in common[:MAX_ERRORS]
    )
    return tuple(said), left_out


def versions(root: Path = Path("/")) -> Versions:
    """Return what runs on what. `root` is another one in tests only."""
    return Versions(
        deskwatch=_matching(_VERSION, __version__),
        python=_matching(_VERSION, platform.python_version()),
        interpreter=_interpreter(),
        kernel=kernel(platform.release()),
        board=board(root),
    )


def kernel(release: str) -> str:
    """Return a kernel's number, and its flavour where that is a known one: who builds one names it."""
    found = _KERNEL.fullmatch(release)
    if found is None:
        return OTHER
    flavour = next((one for one in FLAVOURS if (found[2] or "").endswith(f"-{one}") or found[2] == one), "")
    if flavour:
        return f"{found[1]}-{flavour}"
    return found[1] if found[2] is None else f"{found[1]}-{OTHER}"


def board(root: Path) -> str:
    """Return the board's model as the device tree has it, where it is a Raspberry Pi."""
    try:
        text = (root / "proc/device-tree/model").read_text("ascii").rstrip("\0\n")
    except (OSError, UnicodeDecodeError):
        return OTHER
    return _matching(_BOARD, text)


def _interpreter() -> str:
    for package in INTERPRETERS:
        try:
            return f"{package} {_matching(_VERSION, version(package))}"
        except PackageNotFoundError:
            continue
    return ""


def _matching(pattern: re.Pattern[str], text: str) -> str:
    return text if pattern.fullmatch(text) else OTHER


def _through(
    table: Mapping[str, Treatment], values: Mapping[str, object], names: Pseudonyms
) -> tuple[dict[str, Value], int]:
    said: dict[str, Value] = {}
    left_out = 0
    for name, value in values.items():
        try:
            said[name] = table[name](value, names)
        except (KeyError, Unfit):
            left_out += 1
    return dict(sorted(said.items())), left_out
