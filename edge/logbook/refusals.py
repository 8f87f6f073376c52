"""Why a command or new rules were refused, in plain words. The unit's own words stand behind them."""

import re
from collections.abc import Mapping

from edge.policy.floor import FLOORS, NEVER
from edge.story import printable
from edge.uplink.command_messages import CommandError
from edge.uplink.twin_messages import RefusalCode
from edge.uplink.wire import Problem

COMMANDS: Mapping[str, str] = {
    CommandError.INVALID: "it was not asked as it has to be",
    CommandError.UNKNOWN: "it cannot do such a thing",
    CommandError.RETAINED: "it was asked in a way that could repeat itself",
    CommandError.EXPIRED: "it was asked too late",
    CommandError.TOO_FAR_AHEAD: "it was asked for a time too far ahead",
    CommandError.REPLAYED: "it was asked the same before",
    CommandError.OFF_SHIFT: "it was outside your shift",
    CommandError.ON_BREAK: "you were on a break",
    CommandError.NOT_ON_BREAK: "you were not on a break",
    CommandError.TOO_EARLY: "a break that you began is not ended from afar in its first five minutes",
    CommandError.NOT_ALLOWED: "the camera was closed for your sake",
    CommandError.BUSY: "it was doing that already",
    CommandError.NO_FRAME: "the camera gave no picture in time",
    CommandError.NO_LED: "it has no light",
    CommandError.FAILED: "it failed",
}
RULES: Mapping[str, str] = {
    RefusalCode.TOO_LARGE: "they were too long",
    RefusalCode.BAD_ENVELOPE: "they were not signed as they have to be",
    RefusalCode.UNKNOWN_KEY: "they were signed by somebody whom the unit does not know",
    RefusalCode.BAD_SIGNATURE: "their signature was false",
    RefusalCode.UNKNOWN_SCHEMA: "they were written for another firmware",
    RefusalCode.INVALID: "they were not written as they have to be",
    RefusalCode.BELOW_FLOOR: "they would have gone below the privacy that the unit always keeps",
    RefusalCode.UNSERVED_LABEL: "they named something that the unit cannot recognise",
    RefusalCode.OTHER_UNIT: "they were meant for another unit",
    RefusalCode.EXPIRED: "their time was over",
    RefusalCode.OLDER_VERSION: "newer ones were in force already",
    RefusalCode.VERSION_REUSED: "others with the same number had come before",
    RefusalCode.BLOCKED: "they had been tried before, and failed",
    RefusalCode.TOO_MANY: "too many came in too short a time",
    RefusalCode.NOT_STORED: "the unit could not write them to its disk",
    RefusalCode.TRIAL_NOT_CONNECTED: "the unit had no connection under them",
    RefusalCode.TRIAL_NOT_PUBLISHED: "the unit could send nothing under them",
    RefusalCode.TRIAL_NO_FRAME: "the camera gave no picture under them",
    RefusalCode.TRIAL_NO_INFERENCE: "the unit could not tell what it saw under them",
    RefusalCode.TRIAL_INTERRUPTED: "the unit lost its power, or crashed, while it tried them",
}
_INDEX = re.compile(r"\[[0-9]+\]")


def command(error: Problem) -> str:
    """Return why the unit did not do what somebody asked from afar."""
    return COMMANDS.get(error.code, "for a reason that this page cannot tell")


def of_rules(error: Problem) -> str:
    """Return why the unit did not take rules, or gave them up."""
    why = RULES.get(error.code, "for a reason that this page cannot tell")
    limit = _limit(error.path) if error.code == RefusalCode.BELOW_FLOOR else None
    return f"{why}: {limit}" if limit else why


def exactly(error: Problem | None) -> list[str]:
    """Return the unit's own words, to stand behind the plain ones."""
    if error is None:
        return []
    where = f" ({printable(error.path)})" if error.path != "$" else ""
    return [f"Word for word: “{printable(error.problem)}”{where}"]


def _limit(path: str) -> str | None:
    place = _INDEX.sub("[*]", path)
    return NEVER.get(place) or next((floor.says for floor in FLOORS if floor.path == place), None)
