"""Which policy the unit follows, and why not the one that somebody wanted."""

import datetime as dt

from edge.diagnosis.behind import unreadable
from edge.diagnosis.check import Check, Patient, Verdict, failed, passed, skipped, warned
from edge.diagnosis.in_force import InForce, policy_in_force
from edge.errors import EdgeError
from edge.link_settings import trusted_keys
from edge.policy.document import PolicyError, read_policy
from edge.uplink.envelope import KeyUnusable
from edge.uplink.twin_messages import Phase, RefusalCode
from edge.vision.card import ModelError

_NO_CONFIG = "unit.toml cannot be used: see config.readable"
_ENDED_BADLY = {code.value for code in RefusalCode if code.value.startswith("trial-")} | {
    RefusalCode.NOT_STORED.value
}


def probe_phase(patient: Patient) -> Verdict:
    """Look what became of the newest policy that was sent to the unit."""
    if patient.facts is not None:
        return _phase_told(patient)
    found = _in_force(patient)
    if isinstance(found, Verdict):
        return found
    if found.fault is not None:
        return failed("not-believed", f"{found.fault.code} at {found.fault.path}", "the confirmed one")
    if found.damaged:
        return warned("notes-damaged", "the notes on past policies cannot be read", "readable")
    if found.notes.trial is not None:
        return warned("cut-short", f"version {found.notes.trial.version} was on trial", "confirmed")
    if (failure := found.notes.failure) is not None:
        return warned("rolled-back", f"version {failure.mark.version}: {failure.code}", "confirmed")
    confirmed = found.notes.confirmed
    return passed(
        "none came: the unit's own file" if confirmed is None else f"version {confirmed.version} confirmed"
    )


def _phase_told(patient: Patient) -> Verdict:
    facts = patient.facts or {}
    phase, error, path = (facts.get(f"policy.{name}") for name in ("phase", "error", "error_path"))
    wanted = facts.get("policy.desired_version")
    what = f"version {wanted:g}" if isinstance(wanted, int | float) else "what came"
    match phase:
        case Phase.TRIAL:
            return warned("trial", f"{what} is on trial", "confirmed")
        case Phase.REFUSED:
            return warned("refused", f"{what}: {error} at {path}", "confirmed")
        case Phase.ROLLED_BACK if error in _ENDED_BADLY:
            return warned("rolled-back", f"{what}: {error}", "confirmed")
        case Phase.ROLLED_BACK:
            return failed("not-believed", f"{what}: {error} at {path}", "the confirmed one")
        case Phase.CONFIRMED:
            return passed(f"{what} confirmed")
        case _:
            return passed("none came: the unit's own file")


def probe_version(patient: Patient) -> Verdict:
    """Look which version runs, whether it is the newest, and in its time; and whether keys can be used."""
    if patient.config is None:
        return skipped(_NO_CONFIG)
    try:
        keys = trusted_keys(patient.config.twin.trusted_keys)
    except KeyUnusable:
        return failed("key-unusable", "one of twin.trusted_keys cannot be used", "public keys in PEM")
    found = _in_force(patient)
    if isinstance(found, Verdict):
        return found
    facts = patient.facts or {}
    running = facts.get("policy.version")
    version = int(running) if isinstance(running, int | float) else found.policy.version
    if version == found.policy.version and patient.clock.now_at() >= found.policy.expires_at:
        return failed(
            "expired", f"version {version} expired {_day(found.policy.expires_at)}", "one in its time"
        )
    wanted = facts.get("policy.desired_version")
    if isinstance(wanted, int | float) and wanted > version:
        return warned("behind", f"version {version}, wanted {wanted:g}", "the newest")
    if found.notes.confirmed is None and keys:
        return warned("none-came", f"version {version} of the unit's own file", "one from the operator")
    if not keys:
        return passed(f"version {version} of the unit's own file; no key is trusted, so none comes from afar")
    return passed(f"version {version}, until {_day(found.policy.expires_at)}")


def _in_force(patient: Patient) -> InForce | Verdict:
    if patient.config is None:
        return skipped(_NO_CONFIG)
    path = patient.config.paths.policy
    if unreadable(patient.config.paths.state) is not None and not patient.inside:
        return skipped("not yours to read: run it with sudo")
    try:
        read_policy(path)
        return policy_in_force(patient.config)
    except PolicyError as error:
        if isinstance(error.__cause__, PermissionError) and not patient.inside:
            return skipped("not yours to read: run it with sudo")
        return failed("own-unusable", f"the unit's own file: wrong at {error.path}", "a policy")
    except ModelError:
        return skipped("needs model.hash")
    except EdgeError as error:
        return skipped(str(error))


def _day(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%d")


_PUSH = "push a corrected policy with a higher version (deskwatch operator push)."
_OWN = (
    "The unit does not start without it. Put a whole policy at paths.policy of unit.toml; docs/policy.md says"
    " what stands in one."
)
CHECKS = (
    Check(
        "policy.phase",
        probe_phase,
        {
            "trial": "Wait: it proves itself within twin.confirm_timeout_s, or the one before comes back.",
            "cut-short": "The unit crashed or lost power during the trial, so this policy will be blocked:"
            " start the"
            f" unit, then {_PUSH}",
            "refused": f"The policy before stays in force. docs/messages.md says what the code means;"
            f" {_PUSH}",
            "rolled-back": "It did not prove itself in time: see broker.* and camera.* for what it lacked,"
            " then"
            f" {_PUSH}",
            "not-believed": "The confirmed policy is not in force any more: its key was taken from"
            " twin.trusted_keys,"
            f" or its file was changed. Trust the key again, or {_PUSH}",
            "notes-damaged": "The card lost them: replace it soon. The unit goes on with what is signed.",
            "own-unusable": _OWN,
        },
    ),
    Check(
        "policy.version",
        probe_version,
        {
            "expired": f"First look at the clock (clock.plausible). If it is right, {_PUSH}",
            "behind": "See policy.phase for why the newest is not in force.",
            "none-came": "Push one (deskwatch operator push), or see whether the broker lets the unit read"
            " config/desired.",
            "key-unusable": "twin.trusted_keys in unit.toml names a file that is no public key in PEM: put"
            " the"
            " operator's there.",
            "own-unusable": _OWN,
        },
    ),
)
