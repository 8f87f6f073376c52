"""Whether the unit reaches its broker, and gets in: the first layer that fails is named, the others wait.

Beside a unit that runs only what it has no part in is tried: name, port, TLS. Its client id never comes a
second time: the broker would throw the unit out. What lies above TLS it says itself.
"""

from edge.diagnosis.check import Check, Patient, Status, Verdict, failed, passed, skipped, warned
from edge.diagnosis.way import probe_of

UNACKNOWLEDGED_S = 15.0
MANY, LASTS_S = 5, 60.0
"""So many connections since the start of the unit, and no longer than this each: none of them holds."""


def probe_auth(patient: Patient) -> Verdict:
    """Look whether the broker lets the unit in: by what it says, or in its place."""
    facts = patient.facts
    if facts is not None and facts.get("link.connected"):
        count, up_s = facts.get("link.connections"), facts.get("unit.up_s")
        if isinstance(count, float | int) and isinstance(up_s, float | int) and count >= MANY:
            every_s = up_s / count
            if every_s < LASTS_S:
                limit = f"one that lasts for {LASTS_S:.0f} s and more"
                return warned("flaps", f"{count:.0f} connections, one in {every_s:.0f} s", limit)
        return passed(f"connected to {facts.get('link.address')} over MQTT {facts.get('link.protocol')}")
    return probe_of("auth")(patient)


def probe_publish(patient: Patient) -> Verdict:
    """Look whether the broker takes what the unit sends: by what it says, or in its place."""
    facts = patient.facts
    if facts is None:
        return probe_of("publish")(patient)
    if not facts.get("link.connected"):
        auth = probe_of("auth")(patient)
        return auth if auth.status is Status.SKIP else skipped("needs broker.auth")
    waits_s = facts.get("link.unacknowledged_s")
    if isinstance(waits_s, float) and waits_s > UNACKNOWLEDGED_S:
        limit = f"within {UNACKNOWLEDGED_S:g} s"
        return failed("not-acknowledged", f"nothing acknowledged for {waits_s:.0f} s", limit)
    if (answer := facts.get("link.last_answer")) is not None:
        return failed("not-allowed", str(answer), "taken")
    trip_s, age_s = facts.get("link.round_trip_s"), facts.get("link.puback_age_s")
    if not (isinstance(trip_s, float) and isinstance(age_s, float)):
        return skipped("nothing was sent over this connection yet")
    return passed(f"acknowledged in {trip_s * 1000:.0f} ms, {age_s:.0f} s ago")


_ASK = "Ask whoever runs the broker"
_NOT_YET = "Wait half a minute and run it again: the unit connects at a moment of its own."

CHECKS = (
    Check(
        "broker.dns",
        probe_of("dns"),
        {
            "unknown": "Correct broker.host in unit.toml, or have that name entered in the DNS."
            " Try: getent hosts NAME.",
            "no-name-server": "The unit's name server does not answer. Look at Wi-Fi or cable, and at what"
            " the"
            " router hands out: resolvectl status.",
        },
        timeout_s=10.0,
    ),
    Check(
        "broker.tcp",
        probe_of("tcp"),
        {
            "refused": f"The machine is there, and nothing listens on that port. Check broker.port. {_ASK}"
            " whether"
            " it runs.",
            "no-route": "The unit has no way out of its network. Look at Wi-Fi or cable, and at its"
            " address and"
            " router: ip route.",
            "no-answer": "Something swallows it, most likely a firewall. Have outgoing TCP to that port"
            " allowed, and"
            " check broker.host.",
            "forbidden": "A firewall on the unit itself forbids it: nft list ruleset.",
        },
        timeout_s=25.0,
    ),
    Check(
        "broker.tls",
        probe_of("tls"),
        {
            "expired": "First look at the clock (clock.plausible). If it is right, the broker's"
            " certificate, or its"
            " CA's, has to be renewed by whoever runs the broker.",
            "not-yet-valid": "Look at the clock: it is most likely behind. Let the unit reach its time server"
            " (timedatectl). If it is right, the broker's certificate was issued for later.",
            "other-name": "The broker's certificate is for another name. Correct broker.host in unit.toml,"
            " or have a"
            " certificate issued for that name.",
            "unknown-ca": "The broker shows a certificate of another CA. Put the right CA at"
            " broker.ca_file. If you"
            " did not change the broker, somebody may stand between.",
            "certificate-wanted": "The broker wants a certificate, and the unit has none: deskwatch provision"
            " --request, and set broker.certificate_file and key_file.",
            "certificate-refused": f"The broker does not take this unit's certificate. {_ASK} whether its"
            " CA is known"
            " there, and whether it was revoked. Going back: deskwatch provision --revert.",
            "no-tls": "That port speaks no TLS. Check broker.port (8883 with TLS, 1883 without) and"
            " broker.tls in"
            " unit.toml.",
            "too-old": "The broker speaks only TLS 1.1 or older. It needs an update; the unit takes"
            " nothing older"
            " than 1.2.",
            "no-answer": "It takes the connection, and then says nothing: the broker hangs, or a firewall"
            " looks into"
            f" it. {_ASK} to restart it.",
            "own-files": "See identity.certificate, identity.key and identity.authority.",
            "other": "Is it a TLS port of an MQTT broker? A firewall that opens TLS does this too.",
        },
        timeout_s=40.0,
    ),
    Check(
        "broker.auth",
        probe_auth,
        {
            "password": "Wrong user name or password. Correct broker.username and the file that"
            " broker.password_file"
            " names.",
            "not-authorised": "The broker does not let this unit in. Check its password or certificate,"
            " and whether"
            " the broker's access list has it.",
            "client-id": "The broker does not take this client id: check unit.id in unit.toml, and the"
            " broker's rule"
            " for client ids.",
            "banned": f"The broker has banned this unit. {_ASK}.",
            "protocol": 'The broker does not speak this MQTT version: set broker.protocol to "3.1.1", or "5",'
            " in unit.toml.",
            "busy": f"The broker has too many clients or is not ready. Try again in minutes. If it stays:"
            f" {_ASK}.",
            "moved": "The broker names another server: set broker.host to that one.",
            "lacking": "The broker takes no QoS 1 or no retained messages. The unit needs both: change the"
            " broker's"
            " settings.",
            "no-welcome": "It hangs up without a word. Is it an MQTT broker, does it want TLS, does it know"
            " broker.protocol?",
            "no-answer": f"It takes the connection, and gives no welcome: the broker hangs. {_ASK} to"
            " restart it.",
            "flaps": "The connection breaks again and again. Another unit may come with this unit's id"
            " (unit.id, a copied card); else look at network.wifi and at the broker's log.",
            "not-yet": _NOT_YET,
            "not-connected": "The way there is free, and the last try failed for what stands here. Wait"
            " half a minute"
            " and run it again; if it stays, restart the unit.",
        },
        timeout_s=40.0,
    ),
    Check(
        "broker.publish",
        probe_publish,
        {
            "not-allowed": "The broker refuses what the unit sends. Look at the access list (docs/acl) and"
            " at the"
            " largest packet that it takes.",
            "not-acknowledged": f"The broker takes messages and acknowledges none: it hangs, or its disk"
            f" is full. {_ASK}"
            " to look at it.",
            "cut": "The connection broke when something was sent. Another client may have this unit's id;"
            " or the"
            " access list ends it.",
        },
        timeout_s=45.0,
    ),
)
