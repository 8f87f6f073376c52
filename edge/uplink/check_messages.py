"""How one check of the diagnosis ended, as it is said on the wire."""

import enum

from edge.uplink.wire import Remark, Text, Wire

COULD_NOT_RUN = "could-not-run"
"""The code of a check whose probe broke."""


class CheckStatus(enum.StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  no password
    """As wanted."""
    WARN = "warn"
    """The unit works; somebody should see to it."""
    FAIL = "fail"
    """The unit does not do its work, or soon will not."""
    SKIP = "skip"
    """It could not be told here and now; `value` says why."""


class CheckResult(Wire, frozen=True, kw_only=True):
    """How one check ended, with its hint. What `diagnose` prints, and what `cmd/diagnose` answers with."""

    name: Text
    """Area and what is checked: `power.temperature`."""
    status: CheckStatus
    value: Remark
    """What was found, for people."""
    limit: Remark
    """What was wanted, for people."""
    code: Remark
    """What is wrong, for programs; empty where nothing is."""
    hint: Remark
    """What to do; empty where there is nothing."""
