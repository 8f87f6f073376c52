"""docs/acl, on a real mosquitto: everybody can do what is theirs, and nothing else."""

import contextlib
import os
import queue
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.uplink.command_messages import COMMANDS
from edge.uplink.topics import Topics
from edge.vision.model_file import checkout
from tests.broker import PROGRAM, Mosquitto, free_port, until

ACL = checkout() / "docs/acl/mosquitto.acl"
CONF = checkout() / "docs/acl/mosquitto.conf"
UNIT, OTHER, DESK = "cam-0042", "cam-0043", "cam-0042.desk"
NAMES = ("ingester", "operator", "technician", UNIT, OTHER, DESK)
ROOT = "root-of-the-test"
MORE = f"""
user {ROOT}
topic readwrite deskwatch/#
pattern readwrite probe/%u
"""
WAIT_S = 30.0


def levels(*, write: bool) -> set[str]:
    """The topics below a unit's root that the unit writes, or reads."""
    unit = Topics("t", "u")
    up = {unit.state, unit.event, unit.thumb("e1"), unit.health, unit.reported}
    up |= {unit.reply(name) for name in COMMANDS}
    down = {unit.desired, unit.ack, unit.activity, *(unit.command(name) for name in COMMANDS)}
    return {topic.removeprefix(f"{unit.root}/") for topic in (up if write else down)}


ALL = levels(write=True) | levels(write=False)
REPLIES = {level for level in ALL if level.startswith("reply/")}
COMMAND = {level for level in ALL if level.startswith("cmd/")}
UNITS = [
    ("acme", UNIT),
    ("acme", OTHER),
    ("globex", UNIT),
    *(("acme", name) for name in NAMES if name not in (UNIT, OTHER)),
]
TOPICS = {f"deskwatch/v1/{tenant}/{unit}/{level}" for tenant, unit in UNITS for level in ALL}
REAL = {("acme", UNIT), ("acme", OTHER)}


def of(level_set: set[str], units: set[tuple[str, str]] = REAL) -> set[str]:
    return {f"deskwatch/v1/{tenant}/{unit}/{level}" for tenant, unit in units for level in level_set}


def of_the_tenant(level_set: set[str], but: str) -> set[str]:
    """What a service gets: any unit's of its tenant, but the one that would have its own name."""
    return of(level_set, {(tenant, unit) for tenant, unit in UNITS if tenant == "acme" and unit != but})


WRITES = {
    UNIT: of(levels(write=True), {("acme", UNIT)}),
    OTHER: of(levels(write=True), {("acme", OTHER)}),
    "ingester": of_the_tenant({"ack"}, "ingester"),
    "operator": of_the_tenant({"config/desired"}, "operator"),
    "technician": of_the_tenant(COMMAND, "technician"),
    DESK: of({"activity"}, {("acme", UNIT)}),
}
READS = {
    UNIT: of(levels(write=False), {("acme", UNIT)}),
    OTHER: of(levels(write=False), {("acme", OTHER)}),
    "ingester": of_the_tenant({"state", "event", "thumb/e1", "ack"}, "ingester"),
    "operator": of_the_tenant({"state", "health", "event", "config/desired", "config/reported"}, "operator"),
    "technician": of_the_tenant(REPLIES | {"state", "health"}, "technician"),
    DESK: set(),
}


VERSION = CallbackAPIVersion.VERSION2


class Client:
    """One who is connected to the broker under a name."""

    def __init__(self, port, name, client_id="", tls=None, will=None, protocol=mqtt.MQTTv5, password=None):
        self.name = name
        self.came: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._answers: queue.Queue[object] = queue.Queue()
        self.lost: queue.Queue[object] = queue.Queue()
        self.mqtt = mqtt.Client(VERSION, client_id or uuid.uuid4().hex, protocol=protocol)
        if tls is not None:
            self.mqtt.tls_set_context(tls)
        if password or tls is None:
            self.mqtt.username_pw_set(name, f"password of {name}")
        if will is not None:
            self.mqtt.will_set(will, b"{}", 1, retain=True)
        self.mqtt.on_connect = lambda _c, _u, _f, reason, _p: self._answers.put(reason)
        self.mqtt.on_disconnect = lambda _c, _u, _f, reason, _p: self.lost.put(reason)
        self.mqtt.on_publish = lambda _c, _u, _mid, reason, _p: self._answers.put(reason)
        self.mqtt.on_subscribe = lambda _c, _u, _mid, reasons, _p: self._answers.put(reasons[0])
        self.mqtt.on_message = lambda _c, _u, message: self.came.put(message)
        self.mqtt.connect("127.0.0.1", port)
        self.mqtt.loop_start()
        self.welcome = self._answers.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> bool:
        """Publish at QoS 1; return whether the broker took it."""
        self.mqtt.publish(topic, payload, 1, retain=retain)
        return not self._answers.get(timeout=WAIT_S).is_failure

    def subscribe(self, topic_filter: str) -> None:
        self.mqtt.subscribe(topic_filter, 1)
        self._answers.get(timeout=WAIT_S)

    def heard(self) -> list[tuple[str, bool]]:
        """What came so far, as (topic, retained): a broker keeps the order, so it is before our own probe."""
        probe, last = f"probe/{self.name}", uuid.uuid4().bytes
        self.subscribe(probe)
        assert self.publish(probe, last)
        got = []
        while (message := self.came.get(timeout=WAIT_S)).payload != last:
            got.append((message.topic, message.retain))
        return [(topic, retained) for topic, retained in got if topic != probe]


@contextlib.contextmanager
def client(port: int, name: str, **more) -> Iterator[Client]:
    made = Client(port, name, **more)
    try:
        yield made
    finally:
        wire = made.mqtt.socket()
        made.mqtt.disconnect()
        made.mqtt.loop_stop()
        if wire is not None:
            wire.close()


def passwords(*names: str) -> str:
    return "".join(f"{name}:password of {name}\n" for name in names)


@pytest.fixture
def broker(mosquitto: Mosquitto) -> Mosquitto:
    """A mosquitto with the access file of docs/acl, and somebody who may do everything."""
    acl, known = mosquitto.folder / "acl", mosquitto.folder / "passwords"
    acl.write_text(ACL.read_text() + MORE)
    known.write_text(passwords(*NAMES, ROOT))
    subprocess.run(["mosquitto_passwd", "-U", known], check=True, capture_output=True)
    for path in (acl, known):
        path.chmod(0o644)
    mosquitto.start(f"acl_file {acl}", f"password_file {known}", anonymous=False)
    return mosquitto


@pytest.mark.parametrize("name", NAMES)
def test_each_may_say_what_is_theirs_and_nothing_else(broker, name):
    with client(broker.port, name) as it:
        assert {topic for topic in TOPICS if it.publish(topic)} == WRITES[name]


@pytest.mark.parametrize("name", NAMES)
def test_each_hears_what_is_theirs_and_nothing_else_kept_or_live(broker, name):
    with client(broker.port, ROOT) as root, client(broker.port, name) as it:
        assert all(root.publish(topic, retain=True) for topic in TOPICS)
        it.subscribe("#")
        kept = it.heard()
        assert {topic for topic, retained in kept if retained} == READS[name]
        assert all(root.publish(topic) for topic in TOPICS)
        assert {topic for topic, retained in it.heard() if not retained} == READS[name]


def test_a_shared_subscription_is_no_way_round(broker):
    with client(broker.port, ROOT) as root, client(broker.port, OTHER) as it:
        it.subscribe("$share/group/deskwatch/v1/acme/+/event")
        it.subscribe(f"deskwatch/v1/acme/{UNIT}/#")
        assert root.publish(f"deskwatch/v1/acme/{UNIT}/event")
        assert it.heard() == []


def test_over_3_1_1_a_refused_message_is_acknowledged_and_goes_nowhere(broker):
    """So a unit on 3.1.1 whose rights are wrong loses what it says, unless the ingester releases it."""
    theirs = f"deskwatch/v1/acme/{UNIT}/event"
    with client(broker.port, ROOT) as root, client(broker.port, OTHER, protocol=mqtt.MQTTv311) as it:
        root.subscribe(theirs)
        assert it.publish(theirs)
        assert root.heard() == []


@pytest.mark.parametrize(("name", "heard"), [(UNIT, True), (OTHER, False)])
def test_a_will_is_published_where_it_is_its_owners_only(broker, name, heard):
    state = f"deskwatch/v1/acme/{UNIT}/state"
    with client(broker.port, ROOT) as root, client(broker.port, name, client_id="dies", will=state) as it:
        root.subscribe(state)
        it.mqtt.loop_stop()
        it.mqtt.socket().shutdown(socket.SHUT_RDWR)
        log = broker.folder / "mosquitto.log"
        until(lambda: "Client dies closed" in log.read_text(), "mosquitto to see that it died", WAIT_S)
        assert (state in {topic for topic, _ in root.heard()}) is heard


@pytest.mark.parametrize("name", ["nobody", "+", "#", ""])
def test_nobody_comes_under_a_name_that_has_no_password(broker, name):
    with client(broker.port, name) as it:
        assert it.welcome.is_failure


def certificate(folder, name: str, *, signed_by: str = "ca", ip: bool = False) -> None:
    """Make folder/name.pem and .key, with `name` as the CN."""
    run = lambda *words: subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)  # noqa: E731
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")
    if name == signed_by:
        use = ("-addext", "keyUsage=critical,keyCertSign")
        run("req", "-x509", *key, "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}", *use)
        return
    run("req", *key, "-out", "csr", "-subj", f"/CN={name}")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n" if ip else "\n")
    ca = ("-CA", f"{signed_by}.pem", "-CAkey", f"{signed_by}.key", "-CAcreateserial")
    run("x509", "-req", "-in", "csr", *ca, "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")


def start_as_told(mosquitto: Mosquitto, services_port: int) -> None:
    """Start it with docs/acl/mosquitto.conf; only the paths and ports are of the test."""
    folder = mosquitto.folder
    text = CONF.read_text().replace("/etc/mosquitto/certs/units-ca.pem", f"{folder}/ca.pem")
    for theirs in ("/etc/mosquitto/certs/", "/etc/mosquitto/", "/var/lib/mosquitto/"):
        text = text.replace(theirs, f"{folder}/")
    text = text.replace("listener 8883", f"listener {mosquitto.port} 127.0.0.1")
    text = text.replace("listener 8884", f"listener {services_port} 127.0.0.1")
    (folder / "deskwatch.acl").write_text(ACL.read_text() + MORE)
    (folder / "deskwatch.passwd").write_text(passwords("ingester"))
    subprocess.run(["mosquitto_passwd", "-U", folder / "deskwatch.passwd"], check=True, capture_output=True)
    user = "user root\n" if os.geteuid() == 0 else ""
    (folder / "mosquitto.conf").write_text(user + text)
    with (folder / "mosquitto.log").open("ab") as log:
        command = [PROGRAM, "-c", folder / "mosquitto.conf"]
        mosquitto.process = subprocess.Popen(command, stdout=log, stderr=log)
    until(lambda: "running" in (folder / "mosquitto.log").read_text(), "mosquitto to run", WAIT_S)


def test_a_certificate_is_a_name_and_a_client_id(mosquitto):
    """With docs/acl/mosquitto.conf the CN counts, whatever the client says."""
    folder = mosquitto.folder
    certificate(folder, "ca")
    certificate(folder, "broker", ip=True)
    for name in (UNIT, OTHER):
        certificate(folder, name)
    services_port = free_port()
    start_as_told(mosquitto, services_port)

    def as_unit(name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        return context

    with client(mosquitto.port, UNIT, client_id=UNIT, tls=as_unit(UNIT)) as it:
        assert {topic for topic in TOPICS if it.publish(topic)} == WRITES[UNIT]
        with client(mosquitto.port, OTHER, client_id=UNIT, tls=as_unit(OTHER)) as thief:
            assert {topic for topic in TOPICS if thief.publish(topic)} == WRITES[OTHER]
            assert it.publish(f"deskwatch/v1/acme/{UNIT}/event")  # its connection was not taken over
        assert it.lost.empty()
    anybody = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with client(services_port, "ingester", tls=anybody, password=True) as ingester:
        assert {topic for topic in TOPICS if ingester.publish(topic)} == WRITES["ingester"]
    with client(services_port, UNIT, tls=as_unit(UNIT)) as it:
        assert it.welcome.is_failure  # a certificate is no name there
    assert refused(mosquitto.port, anybody)


def refused(port: int, context: ssl.SSLContext) -> bool:
    """Tell whether the broker ends a connection before a word of MQTT."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as wire, contextlib.suppress(ConnectionError):
        try:
            with context.wrap_socket(wire, server_hostname="127.0.0.1") as sealed:
                return sealed.recv(1) == b""  # in TLS 1.3 the refusal comes behind the handshake
        except ssl.SSLError as error:
            return "CERTIFICATE_REQUIRED" in str(error) or "HANDSHAKE_FAILURE" in str(error)
    return True
