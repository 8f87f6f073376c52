"""The way to the broker, layer by layer: the first that fails is named, and those above it wait for it."""

import ipaddress
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from edge.diagnosis.behind import unreadable
from edge.diagnosis.check import Patient, Status, Verdict, failed, passed, skipped, warned
from edge.diagnosis.in_force import links
from edge.diagnosis.reach import Addresses, dial, resolve, shake_hands
from edge.errors import EdgeError
from edge.provision.standing import with_pair_before
from edge.uplink.broker_config import BrokerConfig
from edge.uplink.causes import cause_of
from edge.uplink.signals import Cause
from edge.uplink.tls import Tls, TlsUnusable

BESIDE_S = 0.5
"""A check that took too long still holds what this one needs: it is not waited for a second time."""
_OFFLINE = "nothing is sent over the network: --offline"
_TLS_CODES = {
    Cause.NO_TLS: "no-tls",
    Cause.TLS_TOO_OLD: "too-old",
    Cause.BROKER_EXPIRED: "expired",
    Cause.BROKER_NOT_YET_VALID: "not-yet-valid",
    Cause.BROKER_OTHER_NAME: "other-name",
    Cause.BROKER_UNKNOWN_CA: "unknown-ca",
    Cause.CERTIFICATE_WANTED: "certificate-wanted",
    Cause.CERTIFICATE_REFUSED: "certificate-refused",
    Cause.NO_ANSWER: "no-answer",
}
_TCP_CODES = {
    Cause.NOTHING_LISTENS: "refused",
    Cause.NO_ROUTE: "no-route",
    Cause.FORBIDDEN: "forbidden",
    Cause.NO_ANSWER: "no-answer",
}
_AUTH_CODES = {
    Cause.PASSWORD,
    Cause.NOT_AUTHORISED,
    Cause.CLIENT_ID,
    Cause.BANNED,
    Cause.PROTOCOL,
    Cause.BUSY,
    Cause.MOVED,
    Cause.LACKING,
    Cause.NO_WELCOME,
    Cause.NO_ANSWER,
}


_TLS_WORDS = {
    "no-tls": "it speaks no TLS",
    "too-old": "it has no TLS 1.2 or newer",
    "certificate-wanted": "it wants a certificate of the unit",
    "certificate-refused": "it does not take the unit's certificate",
    "no-answer": "no answer in time",
}
_REASONS = {
    "CERTIFICATE_EXPIRED": "it finds the unit's certificate expired",
    "CERTIFICATE_REVOKED": "it says that the unit's certificate was revoked",
    "UNKNOWN_CA": "it does not know the CA of the unit's certificate",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up amid the greeting",
}
"""By the end of OpenSSL's name for it."""
_SAID = re.compile(
    r"(.*?\(0x[0-9A-F]{2}\)|.*? without a welcome|no welcome from .*? within \S+ s|cannot reach \S+: [^:]+)"
    r"(?:: .*)?\Z",
    re.DOTALL,
)
"""What the broker said, before what to do: that is the hint's."""


@dataclass(slots=True)
class _Way:
    """What was found for one patient so far: a check needs what is below it, and nothing is asked twice."""

    patient: Patient
    link: BrokerConfig
    lock: threading.RLock = field(default_factory=threading.RLock)
    found: dict[str, Verdict] = field(default_factory=dict)
    addresses: Addresses = field(default_factory=list)

    def layer(self, name: str) -> Verdict:
        """Return what was found at a layer; skipped where one below it is not passed."""
        if not self.lock.acquire(timeout=BESIDE_S):
            return skipped("what is below it has not ended")
        try:
            if name not in self.found:
                below, look = _LAYERS[name]
                self.found[name] = self._needs(below) or look(self)
            return self.found[name]
        finally:
            self.lock.release()

    def _needs(self, below: str | None) -> Verdict | None:
        if below is None:
            return None
        under = self.layer(below)
        if under.status is Status.PASS:
            return None
        if under.status is Status.SKIP:
            return under
        return skipped(f"needs broker.{below}")


_last: list[_Way] = []
_last_lock = threading.Lock()


def _way(patient: Patient) -> _Way | Verdict:
    if patient.config is None:
        return skipped("unit.toml cannot be used: see config.readable")
    with _last_lock:
        if not (_last and _last[0].patient is patient):
            _last[:] = [_Way(patient, _link(patient))]
        return _last[0]


def _link(patient: Patient) -> BrokerConfig:
    """Return the link that the unit uses: what its policy names, else that of unit.toml."""
    assert patient.config is not None
    table, facts = patient.config.broker, patient.facts or {}
    found: list[BrokerConfig] = []
    with suppress(EdgeError):  # other checks say so; the way there can be tried all the same
        if unreadable(patient.config.paths.state) is None:
            found = links(patient.config)
    if not found:
        tls = Tls(table.ca_file, table.certificate_file, table.key_file) if table.encrypted else None
        found = [BrokerConfig(table.host, table.port, patient.config.unit.id, table.username, tls=tls)]
    link = next((one for one in found if one.address == facts.get("link.address")), found[0])
    if facts.get("link.identity") == "previous":
        link = with_pair_before(link, patient.clock.now_at()) or link
    return link


def _look_up(way: _Way) -> Verdict:
    host = way.link.host
    if way.patient.offline:
        return skipped(_OFFLINE)
    try:
        way.addresses = resolve(host, way.link.port)
    except (OSError, UnicodeError) as error:
        cause = cause_of(error, None)
        if cause is Cause.NO_ANSWER or cause is Cause.NO_NAME_SERVER:
            return failed("no-name-server", f"no answer on {host}", "an address")
        return failed("unknown", f"no such name: {host}", "an address")
    if _is_address(host):
        return passed(f"{host} is an address")
    return passed(f"{host} has {len(way.addresses)} addresses")


def _knock(way: _Way) -> Verdict:
    try:
        dial(way.addresses).close()
    except OSError as error:
        code = _TCP_CODES.get(cause_of(error, None) or Cause.NO_ROUTE, "no-route")
        return failed(code, f"{way.link.address}: {error.strerror or error}", "a connection")
    return passed(f"{way.link.address} answers")


def _secure(way: _Way) -> Verdict:
    tls = way.link.tls
    if tls is None:
        return passed("none, as unit.toml says")
    try:
        version = shake_hands(way.addresses, way.link, tls)
    except TlsUnusable as error:
        if isinstance(error.__cause__, PermissionError) and not way.patient.inside:
            return skipped("the unit's key is not yours to read: run it with sudo")
        return failed("own-files", "a file of the unit's own cannot be used", "certificate, key and CA")
    except OSError as error:
        code = _TLS_CODES.get(cause_of(error, tls) or Cause.NO_WELCOME, "other")
        now = f"the clock reads {way.patient.clock.now_at():%Y-%m-%d %H:%M} UTC"
        dated = code in {"expired", "not-yet-valid"}
        return failed(code, f"{way.link.address}: {now if dated else _words(error, code)}", "a TLS session")
    return passed(f"{version} with {way.link.address}")


def _words(error: OSError, code: str) -> str:
    """Say it without OpenSSL's names."""
    if said := str(getattr(error, "verify_message", "")):
        return said
    reason = str(getattr(error, "reason", None) or "")
    told = next((words for end, words in _REASONS.items() if reason.endswith(end)), None)
    return told or _TLS_WORDS.get(code) or (error.strerror if not reason else None) or "no TLS session"


def _get_in(way: _Way) -> Verdict:
    link, facts = way.link, way.patient.facts
    if facts is not None:
        return _said_of_auth(facts.get("link.last_cause"), facts.get("link.last_error"))
    from edge.diagnosis import greeting  # MQTT: for who goes the way to its end

    if (why := greeting.hindrance(way.patient)) is not None:
        return skipped(why)
    trouble = greeting.greet(way.patient, link)
    if trouble is None:
        return passed(f"{link.address} lets the unit in")
    return _refusal(trouble.cause, str(trouble))


def _said_of_auth(cause: str | float | None, error: str | float | None) -> Verdict:
    """Go by what the unit says of its last try."""
    if error is None:
        return warned("not-yet", "no try has ended yet", "a connection")
    return _refusal(Cause(cause) if cause in set(Cause) else None, str(error))


def _refusal(cause: Cause | None, text: str) -> Verdict:
    if (found := _SAID.match(text)) is not None:
        text = found[1]
    if cause in _AUTH_CODES:
        return failed(cause.value, text, "a welcome")
    return failed("not-connected", text, "a welcome")


def _deliver(way: _Way) -> Verdict:
    from edge.diagnosis import greeting  # MQTT: for who goes the way to its end

    if (why := greeting.hindrance(way.patient)) is not None:
        return skipped(why)
    found = greeting.publish(way.patient, way.link)
    if isinstance(found, greeting.Unsaid):
        return skipped(found.why)
    if isinstance(found, EdgeError):
        return failed("cut", str(found), "an acknowledgement")
    if found.took_s is None:
        return failed("not-acknowledged", f"none in {greeting.ACK_S:g} s", "an acknowledgement")
    if found.refusal is not None:
        return failed("not-allowed", found.refusal, "taken")
    known = "" if way.link.protocol == "5" else "; over 3.1.1 a broker cannot say that it may not"
    return passed(f"acknowledged in {found.took_s * 1000:.0f} ms{known}")


_LAYERS: dict[str, tuple[str | None, Callable[[_Way], Verdict]]] = {
    "dns": (None, _look_up),
    "tcp": ("dns", _knock),
    "tls": ("tcp", _secure),
    "auth": ("tls", _get_in),
    "publish": ("auth", _deliver),
}


def probe_of(name: str) -> Callable[[Patient], Verdict]:
    """Return the probe of a layer: `dns`, `tcp`, `tls`, `auth`, `publish`."""

    def probe(patient: Patient) -> Verdict:
        way = _way(patient)
        return way if isinstance(way, Verdict) else way.layer(name)

    return probe


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
