"""The way to a real broker, broken at one layer after the other: that one fails, those above wait."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from edge.clock import SystemClock
from edge.control.client import ask
from edge.control.protocol import TakeBreak
from edge.diagnosis import greeting, policy, spool
from edge.diagnosis.broker import CHECKS
from edge.diagnosis.check import Result, Status
from edge.diagnosis.patient import admit
from edge.diagnosis.runner import run
from edge.uplink.messages import decode_health
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.worklog.entries import Sent
from edge.worklog.log import WorkerLog
from edge.worklog.reading import read
from tests.broker import free_port, rest, subscribed, until
from tests.certificates import Authority
from tests.diagnosis.machine import ROOT, assert_found
from tests.diagnosis.patients import UNIT, patient
from tests.uplink.conftest import Relay, Scripted
from tests.uplink.test_tls import old_server

TABLE = {check.name: check for check in CHECKS}
TOPICS = Topics("acme", UNIT)


class Bench:
    """A broker, a unit's settings, and what a test does to either."""

    def __init__(self, folder, mosquitto, stack):
        self.folder, self.mosquitto, self.stack = folder, mosquitto, stack
        self.broker = {"port": mosquitto.port, "tls": False}
        self.facts = None
        self.ours = Authority(folder / "ours")
        now_at = SystemClock().now_at
        with WorkerLog.open(folder / "state" / "log", now_at=now_at):
            pass

    def secure(self, *lines, pair=None, host="127.0.0.1"):
        """Have the broker speak TLS, and the unit believe our CA."""
        pair = pair or self.ours.issue("broker", host=host)
        self.mosquitto.start(
            listener="\n".join([f"certfile {pair.certificate}", f"keyfile {pair.key}", *lines])
        )
        self.broker |= {"tls": True, "ca_file": self.ours.file}

    def own(self, pair):
        self.broker |= {"certificate_file": pair.certificate, "key_file": pair.key}

    def patient(self, **more):
        return patient(self.folder, broker=self.broker, facts=self.facts, **more)

    def results(self, **more):
        return {result.name: result for result in run(CHECKS, self.patient(**more))}


@pytest.fixture
def bench(tmp_path, mosquitto):
    with contextlib.ExitStack() as stack:
        yield Bench(tmp_path, mosquitto, stack)


# What is done to each layer.


def closed_port(bench):
    bench.broker["port"] = free_port()


def full_backlog(bench):
    """A port that swallows what comes, as a firewall does."""
    server = bench.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(3):
        waiting = bench.stack.enter_context(socket.socket())
        waiting.settimeout(0.0)
        with contextlib.suppress(BlockingIOError):
            waiting.connect(server.getsockname())
    bench.broker["port"] = server.getsockname()[1]


def shown(**more):
    """The broker shows a certificate that is wrong in something."""

    def make(bench):
        bench.secure(pair=bench.ours.issue("broker", **{"host": "127.0.0.1", **more}))

    return make


def stranger(bench):
    bench.secure(pair=Authority(bench.folder / "theirs").issue("broker", host="127.0.0.1"))


def wants_certificate(*more):
    return lambda bench: bench.secure(f"cafile {bench.ours.file}", "require_certificate true", *more)


def refuses_certificate(version):
    def make(bench):
        wants_certificate(f"tls_version {version}")(bench)
        bench.own(Authority(bench.folder / "theirs").issue(UNIT))

    return make


def plain(bench):
    bench.mosquitto.start()
    bench.broker |= {"tls": True, "ca_file": bench.ours.file}


def old(bench):
    port = bench.stack.enter_context(old_server(bench.ours.issue("broker", host="127.0.0.1")))
    bench.broker |= {"port": port, "tls": True, "ca_file": bench.ours.file}


def frozen_tls(bench):
    bench.secure()
    bench.mosquitto.freeze()


def frozen(bench):
    bench.mosquitto.start()
    bench.mosquitto.freeze()


def other_key(bench):
    bench.secure()
    bench.broker |= {
        "certificate_file": bench.ours.issue(UNIT).certificate,
        "key_file": bench.ours.issue("other").key,
    }


def hangs_up(bench):
    server = bench.stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                peer, _ = server.accept()
                with contextlib.suppress(OSError), peer:
                    peer.recv(4096)  # what is left unread would make a reset of the end

    threading.Thread(target=serve, daemon=True).start()
    bench.stack.callback(server.shutdown, socket.SHUT_RDWR)
    bench.broker |= {"port": server.getsockname()[1], "tls": True, "ca_file": bench.ours.file}


def hangs_up_plain(bench):
    hangs_up(bench)
    del bench.broker["ca_file"]
    bench.broker["tls"] = False


def passwords(bench):
    """A broker with a password file, and a unit with another password."""
    file = bench.folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", file, UNIT, "right"], check=True)
    bench.mosquitto.start(f"password_file {file}", anonymous=False)
    (bench.folder / "password").write_text("wrong")
    bench.broker |= {"username": UNIT, "password_file": bench.folder / "password"}


def answers(code, properties=b""):
    """A broker that answers a CONNECT with this reason code."""

    def make(bench):
        packet = bytes([0x20, 3 + len(properties), 0, code, len(properties)]) + properties
        bench.broker["port"] = bench.stack.enter_context(Scripted(packet)).port

    return make


def says(**facts):
    def make(bench):
        bench.mosquitto.start()
        bench.facts = {"link.address": f"127.0.0.1:{bench.mosquitto.port}", "link.connected": 0.0, **facts}

    return make


def forbids(bench):
    acl = bench.folder / "acl"
    acl.write_text(f"topic read {TOPICS.root}/#\ntopic write {TOPICS.state}\n")
    bench.mosquitto.start(f"acl_file {acl}")


def holds_acks(bench):
    bench.mosquitto.start()
    relay = Relay(bench.mosquitto.port)
    bench.stack.callback(relay.close)
    relay.hold_acks.clear()
    bench.broker["port"] = relay.port


def cuts(bench):
    """A broker that ends the connection over what it is sent: DISCONNECT, not authorised."""
    welcome, bye = b"\x20\x03\x00\x00\x00", b"\xe0\x02\x87\x00"
    bench.broker["port"] = bench.stack.enter_context(Scripted(welcome, bye)).port


NO_QOS_1 = b"\x24\x00"
FAULTS = {
    ("broker.tcp", "refused"): ("fail", closed_port),
    ("broker.tcp", "no-answer"): ("fail", full_backlog),
    ("broker.tls", "expired"): ("fail", shown(from_days=-9, until_days=-1)),
    ("broker.tls", "not-yet-valid"): ("fail", shown(from_days=1, until_days=9)),
    ("broker.tls", "other-name"): ("fail", shown(host="elsewhere.example")),
    ("broker.tls", "unknown-ca"): ("fail", stranger),
    ("broker.tls", "certificate-wanted"): ("fail", wants_certificate("tls_version tlsv1.2")),
    ("broker.tls", "certificate-refused"): ("fail", refuses_certificate("tlsv1.3")),
    ("broker.tls", "no-tls"): ("fail", plain),
    ("broker.tls", "too-old"): ("fail", old),
    ("broker.tls", "no-answer"): ("fail", frozen_tls),
    ("broker.tls", "own-files"): ("fail", other_key),
    ("broker.tls", "other"): ("fail", hangs_up),
    ("broker.auth", "password"): ("fail", answers(0x86)),
    ("broker.auth", "not-authorised"): ("fail", passwords),
    ("broker.auth", "client-id"): ("fail", answers(0x85)),
    ("broker.auth", "banned"): ("fail", answers(0x8A)),
    ("broker.auth", "protocol"): ("fail", answers(0x84)),
    ("broker.auth", "busy"): ("fail", answers(0x89)),
    ("broker.auth", "moved"): ("fail", answers(0x9D)),
    ("broker.auth", "lacking"): ("fail", answers(0x00, NO_QOS_1)),
    ("broker.auth", "no-welcome"): ("fail", hangs_up_plain),
    ("broker.auth", "no-answer"): ("fail", frozen),
    ("broker.auth", "not-yet"): ("warn", says()),
    ("broker.auth", "not-connected"): (
        "fail",
        says(**{"link.last_error": "it broke", "link.last_cause": None}),
    ),
    ("broker.publish", "not-allowed"): ("fail", forbids),
    ("broker.publish", "not-acknowledged"): ("fail", holds_acks),
    ("broker.publish", "cut"): ("fail", cuts),
}
NAMES = {
    ("broker.dns", "unknown"): b"\x83",
    ("broker.dns", "no-name-server"): None,
    ("broker.tcp", "no-route"): None,
    ("broker.tcp", "forbidden"): None,
}
"""Those are tried in a network of their own; for a name server: what it answers."""
STANDING = {("broker.auth", "flaps"): {"link.connected": 1.0, "link.connections": 23.0, "unit.up_s": 60.0}}
"""Wrong with a connection that stands just now: what is above it has its own say."""
OPENSSL = re.compile(r"\b[A-Z]+_[A-Z_]+\b|\[SSL|_ssl\.c|Errno")
ADVICE = re.compile(r"check|ask who|set broker|will be tried again|: is ")
"""What to do is the hint's to say."""
PROVEN = frozenset(FAULTS) | frozenset(NAMES) | frozenset(STANDING)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "cannot reach a.b:1: timed out: no answer in time: check the network",
            "cannot reach a.b:1: timed out",
        ),
        ("a.b:1 ended it: Busy (0x89): the broker is busy", "a.b:1 ended it: Busy (0x89)"),
        ("the connection broke", "the connection broke"),
    ],
)
def test_what_a_running_unit_says_comes_without_its_advice(bench, text, said):
    says(**{"link.last_error": text, "link.last_cause": None})(bench)
    assert bench.results()["broker.auth"].value == said


@pytest.mark.parametrize(("name", "code"), STANDING, ids=map("/".join, STANDING))
def test_a_connection_that_never_holds_is_found_while_it_stands(bench, name, code):
    says(**STANDING[name, code])(bench)
    assert_found(bench.results()[name], TABLE[name], code, "warn")
    bench.facts |= {"unit.up_s": 4000.0}
    assert bench.results()[name].status is Status.PASS


@pytest.mark.parametrize(("name", "code"), FAULTS, ids=map("/".join, FAULTS))
def test_the_first_layer_that_fails_is_named(bench, name, code, monkeypatch):
    status, break_it = FAULTS[name, code]
    monkeypatch.setattr(greeting, "ACK_S", 1.0)
    break_it(bench)
    results = bench.results()
    assert_found(results[name], TABLE[name], code, status)
    assert not OPENSSL.search(results[name].value), results[name]
    if name == "broker.auth":
        assert not ADVICE.search(results[name].value), results[name]
    order = list(TABLE)
    assert {results[below].status for below in order[: order.index(name)]} <= {Status.PASS}
    for above in order[order.index(name) + 1 :]:
        assert results[above].status is Status.SKIP
        assert results[above].value == f"needs {name}"


def test_every_hint_is_proven_and_fits_its_line():
    assert {(check.name, code) for check in CHECKS for code in check.hints} == PROVEN
    assert all(len(hint) <= 256 for check in CHECKS for hint in check.hints.values())


INSIDE = """
import socket, sys, threading
from pathlib import Path
import msgspec
from edge.diagnosis import broker
from edge.diagnosis.runner import run_check
from tests.diagnosis.patients import patient
host, name, flags = sys.argv[2], sys.argv[3], sys.argv[4]
if flags:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    def serve():
        while True:
            asked, peer = server.recvfrom(512)
            head = asked[:2] + b"\\x81" + bytes([int(flags, 16)]) + asked[4:6] + bytes(6)
            server.sendto(head + asked[12:], peer)
    threading.Thread(target=serve, daemon=True).start()
check = {one.name: one for one in broker.CHECKS}[name]
result = run_check(check, patient(Path(sys.argv[1]), broker={"host": host}))
sys.stdout.write(msgspec.json.encode(result).decode())
"""


def in_a_network_of_its_own(folder: Path, host: str, name: str, flags: str, before: str = "true") -> Result:
    """Look where there is nothing but a loopback, with our name server on it or none."""
    if shutil.which("unshare") is None or not ROOT:
        pytest.skip("needs root and unshare, to have a network of one's own")
    resolv = folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    script = f'ip link set lo up; mount --bind {resolv} /etc/resolv.conf && {before} && exec "$@"'
    words = ["unshare", "-m", "-n", "sh", "-c", script, "sh", sys.executable, "-c", INSIDE]
    done = subprocess.run(
        [*words, folder, host, name, flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=Path(__file__).parents[2],
    )
    if "Operation not permitted" in done.stderr and not done.stdout:
        pytest.skip(f"no network of one's own here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Result)


@pytest.mark.parametrize(("name", "code"), NAMES, ids=map("/".join, NAMES))
def test_names_and_ways_out(tmp_path, name, code):
    flags, before = NAMES[name, code], "true"
    host = "broker.example.com" if name == "broker.dns" else "192.0.2.7"
    if code == "forbidden":
        if shutil.which("ip") is None:
            pytest.skip("needs ip")
        # What a firewall that rejects by policy gives: EACCES.
        before = "ip route add prohibit 192.0.2.0/24"
    result = in_a_network_of_its_own(tmp_path, host, name, flags.hex() if flags else "", before)
    assert_found(result, TABLE[name], code, "fail")


def test_a_good_way_passes_to_its_end_and_the_log_says_what_left(bench):
    wants_certificate("tls_version tlsv1.3", "use_identity_as_username true")(bench)
    bench.own(bench.ours.issue(UNIT))
    trust = {"tls": bench_tls(bench)}
    with subscribed(bench.mosquitto, f"{TOPICS.root}/#", **trust) as listener:
        results = bench.results()
        assert {result.status for result in results.values()} == {Status.PASS}, results
        [message] = rest(listener)
    assert message.topic == TOPICS.health
    assert decode_health(message.payload).capture == "stopped"
    entries = [entry.note for entry in read(bench.folder / "state" / "log")]
    assert [note.topic for note in entries if isinstance(note, Sent)] == ["health"]


def bench_tls(bench):
    from edge.uplink.tls import Tls

    pair = bench.ours.issue("listener")
    return Tls(bench.ours.file, pair.certificate, pair.key)


def test_without_a_log_nothing_is_published(bench):
    bench.mosquitto.start()
    shutil.rmtree(bench.folder / "state" / "log")
    with subscribed(bench.mosquitto, f"{TOPICS.root}/#") as listener:
        results = bench.results()
        assert rest(listener) == []
    assert results["broker.auth"].status is Status.PASS
    assert results["broker.publish"].status is Status.SKIP
    assert "no worker's log" in results["broker.publish"].value


def test_what_waits_for_the_unit_still_waits(bench):
    """A command that is queued is neither taken away nor done."""
    from edge.uplink.broker_config import lasting_config
    from tests.uplink.test_two_ways import tell

    bench.mosquitto.start()
    config = lasting_config(bench.mosquitto.config(UNIT))
    with connected(config) as (connection, _):
        connection.subscribe(TOPICS.command("+"))
        wait_for(connection, "Subscribed")
    tell(bench.mosquitto, TOPICS.command("break"), b"now")
    assert bench.results()["broker.publish"].status is Status.PASS
    with connected(config) as (connection, _):
        assert wait_for(connection, "Arrived").message.payload == b"now"


@contextlib.contextmanager
def connected(config):
    from edge.uplink.link import Connection
    from edge.uplink.signals import Wake

    wake = Wake()
    connection = Connection(config, wake, manual_ack=True)
    connection.dial()
    try:
        yield connection, connection.wait_until_up(lambda: False)
    finally:
        connection.disconnect()
        wake.close()


def wait_for(connection, kind):
    for _ in range(100):
        for signal in connection.signals():
            if type(signal).__name__ == kind:
                return signal
        connection.step(0.3)
    raise AssertionError(f"no {kind} came")


def test_offline_sends_nothing(bench):
    bench.mosquitto.start()
    before = bench.mosquitto.said()
    results = bench.results(offline=True)
    assert {result.status for result in results.values()} == {Status.SKIP}
    assert "client connected" not in bench.mosquitto.said().removeprefix(before)


def test_the_name_never_comes_beside_a_unit_that_does_not_answer(bench):
    bench.mosquitto.start()
    with Spool.open(bench.folder / "state" / "spool.db"):
        results = bench.results()
    assert results["broker.tls"].status is Status.PASS
    assert results["broker.auth"].status is Status.SKIP
    assert UNIT not in bench.mosquitto.said()


def test_beside_a_unit_that_is_connected_its_word_counts(bench):
    says(
        **{"link.connected": 1.0, "link.protocol": "5", "link.puback_age_s": 3.0, "link.round_trip_s": 0.004}
    )(bench)
    results = bench.results()
    assert {result.status for result in results.values()} == {Status.PASS}
    assert UNIT not in bench.mosquitto.said()


@pytest.mark.parametrize(
    ("fact", "code"),
    [
        ({"link.unacknowledged_s": 40.0}, "not-acknowledged"),
        ({"link.last_answer": "0x87 Not authorized"}, "not-allowed"),
    ],
    ids=["silent", "refused"],
)
def test_a_unit_says_what_the_broker_does_with_its_messages(bench, fact, code):
    says(**{"link.connected": 1.0, **fact})(bench)
    assert_found(bench.results()["broker.publish"], TABLE["broker.publish"], code, "fail")


def test_the_broker_of_the_policy_in_force_is_the_one_that_is_tried(bench):
    """By the unit's word where it runs; its facts name the address."""
    bench.mosquitto.start()
    from tests.uplink.policies import document

    named = {"host": "127.0.0.1", "port": bench.mosquitto.port, "tls": False}
    bench.broker["port"] = free_port()
    policy = document(1, expires_at="2036-01-01T00:00:00Z", broker=named)
    results = {result.name: result for result in run(CHECKS, bench.patient(policy=policy))}
    assert results["broker.tcp"].value == f"127.0.0.1:{bench.mosquitto.port} answers"


def test_a_real_unit_that_runs_is_looked_at_and_not_disturbed(daemon, mosquitto):
    mosquitto.start()
    daemon.watching()
    until(lambda: "connected to" in daemon.said(), "the connection")
    until(lambda: admitted(daemon).facts["link.puback_age_s"] is not None, "an acknowledgement")
    subject = admitted(daemon)
    results = list(run((*CHECKS, *spool.CHECKS, *policy.CHECKS), subject))
    assert {result.status for result in results} == {Status.PASS}, results
    after = admitted(daemon).facts
    assert (after["link.connections"], after["link.connected"]) == (1, 1.0)
    assert after["link.identity"] == "current"
    mosquitto.freeze()
    ask(daemon.state, TakeBreak())  # which is an event
    until(lambda: (admitted(daemon).facts["link.unacknowledged_s"] or 0) > 0, "something unacknowledged")
    mosquitto.thaw()
    mosquitto.stop()
    until(lambda: admitted(daemon).facts["link.last_cause"] == "nothing-listens", "the end of the link")
    results = {result.name: result for result in run(CHECKS, admitted(daemon))}
    assert_found(results["broker.tcp"], TABLE["broker.tcp"], "refused", "fail")
    assert results["broker.publish"].value == "needs broker.tcp"


def admitted(daemon):
    return admit(daemon.config)
