"""A broker that does not take the newest certificate: the unit comes with the one before, and says so."""

import datetime as dt
import json

import pytest

from edge.clock import SteppedClock
from edge.provision.pairs import Identity
from edge.provision.standing import Reminder, with_pair_before
from edge.uplink import identities
from edge.uplink.identities import AGAIN_S, REFUSALS, Standing, refused, tried_again, welcomed
from edge.uplink.messages import decode_state
from edge.uplink.signals import Cause
from edge.uplink.tls import Tls
from tests.broker import subscribed, until
from tests.certificates import Authority
from tests.provision.ca import OpensslCa
from tests.uplink.conftest import quick_uplink
from tests.uplink.conftest import spool as spool  # noqa: PLC0414  a fixture

REFUSAL = "certificate verify failed"
"""In mosquitto's log."""
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def alarms(listener):
    return [alarm.code for alarm in decode_state(listener.receive(10.0).payload).alarms]


def now_at():
    return dt.datetime.now(dt.UTC)


class Bench:
    """A broker that trusts the CA of the first pair, and a unit whose second pair is another CA's."""

    def __init__(self, folder, mosquitto, ca, unit="unit-1", **second):
        self.mosquitto, self.ca, self.folder = mosquitto, ca, folder
        self.other = OpensslCa(folder / "other-ca", "another CA")
        self.identity = Identity(folder / "identity", unit)
        self.install(ca)
        self.first = (self.identity.folder / "unit.pem").read_bytes()
        self.install(self.other, **second)
        self.brokers = Authority(folder / "brokers", "brokers CA")
        self.server = self.brokers.issue("broker", host="127.0.0.1")
        self.tls = Tls(
            ca_pem=self.brokers.pem,
            certificate_file=self.identity.folder / "unit.pem",
            key_file=self.identity.folder / "unit.key",
        )

    def install(self, ca, **more):
        pem = ca.sign(self.identity.request(), **more)
        self.identity.install(pem, ca.file.read_text(), NOW, "unit.pem")

    def serve(self, *cas, version="tlsv1.2"):
        trusted = self.folder / "trusted.pem"
        trusted.write_text("".join(ca.file.read_text() for ca in cas))
        lines = [f"cafile {trusted}", "require_certificate true", "use_identity_as_username true"]
        lines += [f"certfile {self.server.certificate}", f"keyfile {self.server.key}"]
        self.mosquitto.start(listener="\n".join([*lines, f"tls_version {version}"]))

    def uplink(self, spool):
        config = self.mosquitto.config(tls=self.tls)
        return quick_uplink(spool, config, before=lambda link: with_pair_before(link, now_at()))

    def watching(self, topic):
        pair = Identity(self.folder / "watcher", "watcher")
        pem = self.ca.sign(pair.request())
        pair.install(pem, self.ca.file.read_text(), NOW, "unit.pem")
        files = {"certificate_file": pair.folder / "unit.pem", "key_file": pair.folder / "unit.key"}
        return subscribed(self.mosquitto, topic, tls=Tls(ca_pem=self.brokers.pem, **files))


@pytest.fixture
def bench(tmp_path, mosquitto, ca):
    return Bench(tmp_path, mosquitto, ca)


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_the_pair_before_serves_until_the_newest_is_taken(bench, spool, version, monkeypatch):
    bench.serve(bench.ca, version=version)
    with bench.uplink(spool) as uplink:
        until(lambda: uplink.status().connected, "a connection with the pair before")
        assert uplink.status().identity == "previous"
        assert uplink.status().last_cause is Cause.CERTIFICATE_REFUSED
        until(lambda: uplink.status().last_puback_s is not None, "a state that was taken")
        with bench.watching("deskwatch/#") as listener:
            until(lambda: alarms(listener) == ["certificate-refused"], "the alarm")
        # It is tried again now and then, and one refusal is enough to go back.
        monkeypatch.setattr(identities, "AGAIN_S", 0.5)
        before = bench.mosquitto.said().count(REFUSAL)
        until(lambda: bench.mosquitto.said().count(REFUSAL) > before, "another try with the newest")
        until(lambda: uplink.status().connected, "the connection after it")
        assert uplink.status().identity == "previous"
        # And once the broker knows its CA, the newest is used, for good.
        bench.mosquitto.stop()
        bench.serve(bench.ca, bench.other, version=version)
        until(lambda: uplink.status().connected and uplink.status().identity == "current", "the newest")
        with bench.watching("deskwatch/#") as listener:
            until(lambda: alarms(listener) == [], "the alarm to end")


def test_a_pair_before_that_is_past_its_time_does_not_serve(bench):
    config = bench.mosquitto.config(tls=bench.tls)
    before = with_pair_before(config, NOW)
    assert before.tls.certificate_file.read_bytes() == bench.first
    assert with_pair_before(config, NOW + 91 * DAY) is None
    other = bench.mosquitto.config("unit-2", tls=bench.tls)
    assert with_pair_before(other, NOW) is None
    assert with_pair_before(bench.mosquitto.config(), NOW) is None
    (bench.identity.folder / "previous").unlink()
    assert with_pair_before(config, NOW) is None


def test_where_there_is_no_pair_before_the_newest_is_tried_on(tmp_path, mosquitto, spool, ca):
    bench = Bench(tmp_path, mosquitto, ca)
    (bench.identity.folder / "previous").unlink()
    bench.serve(bench.ca)
    with bench.uplink(spool) as uplink:
        until(lambda: bench.mosquitto.said().count(REFUSAL) > REFUSALS + 1, "many tries")
        assert uplink.status().identity == "current"
        assert not uplink.status().connected


def test_only_refusals_count_and_a_welcome_ends_them():
    standing = Standing()
    for cause in (Cause.NO_ANSWER, None, Cause.BROKER_EXPIRED, Cause.BUSY):
        standing = refused(standing, cause, 0.0, another=True)
    assert standing == Standing()
    for _ in range(REFUSALS - 1):
        standing = refused(standing, Cause.NOT_AUTHORISED, 0.0, another=True)
    assert standing.before_since_s is None
    assert welcomed(standing) == Standing()
    standing = refused(standing, Cause.CERTIFICATE_REFUSED, 5.0, another=True)
    assert standing.before_since_s == 5.0
    assert refused(standing, Cause.CERTIFICATE_REFUSED, 6.0, another=True) == Standing()  # no better
    taken = welcomed(standing)
    assert tried_again(taken, 5.0 + AGAIN_S - 1) == taken
    again = tried_again(taken, 5.0 + AGAIN_S)
    assert again.before_since_s is None
    assert again.taken  # the alarm stays until the newest is taken
    assert refused(again, Cause.NO_ROUTE, 9.0, another=True) == again
    assert refused(again, Cause.CERTIFICATE_REFUSED, 9.0, another=True).before_since_s == 9.0
    assert refused(again, Cause.CERTIFICATE_REFUSED, 9.0, another=False).before_since_s is None
    assert welcomed(again) == Standing()


def test_renewal_is_remembered_from_two_thirds_of_a_life_on(tmp_path):
    pair = Authority(tmp_path / "ca").issue("unit-1", from_days=0, until_days=90)
    clock = SteppedClock(NOW, 0.0)
    reminder = Reminder(pair.certificate, clock.now_at, clock.now_s)
    assert reminder.alarms() == ()
    clock.sleep(59 * 86_400)
    assert reminder.alarms() == ()
    clock.sleep(86_400 * 1.1)
    [alarm] = reminder.alarms()
    assert alarm.code == "certificate-expires"
    assert "it expires on" in alarm.detail
    clock.sleep(86_400 * 30)
    assert "it expired on" in reminder.alarms()[0].detail
    assert Reminder(None, clock.now_at, clock.now_s).alarms() == ()
    assert Reminder(tmp_path / "none", clock.now_at, clock.now_s).alarms() == ()


def test_a_whole_unit_comes_with_the_pair_before_and_asks_for_renewal(daemon, mosquitto, ca, tmp_path):
    """Its newest certificate is of a CA that the broker does not know, and nearly over besides."""
    bench = Bench(tmp_path, mosquitto, ca, "cam-1", from_days=-80, until_days=20)
    bench.serve(ca)
    folder = bench.identity.folder
    files = f'certificate_file = "{folder}/unit.pem"\nkey_file = "{folder}/unit.key"'
    files += f'\nca_file = "{bench.brokers.file}"'
    daemon.config.write_text(daemon.config.read_text().replace("tls = false", files))
    with bench.watching("deskwatch/v1/acme/cam-1/state") as listener:
        daemon.start()
        codes = set()

        def heard():
            message = listener.receive(1.0)
            if message is not None:
                codes.update(alarm["code"] for alarm in json.loads(message.payload)["alarms"])
            return {"certificate-refused", "certificate-expires"} <= codes

        until(heard, "both alarms")
        assert daemon.stop() == 0
