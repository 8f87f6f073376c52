"""TLS against a real broker: what is refused, and in which words."""

import contextlib
import datetime as dt
import re
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.uplink.link import BrokerConfig, Connection
from edge.uplink.signals import Connected, LinkError, Wake
from edge.uplink.tls import WRITTEN_AT, Tls, TlsUnusable, WallClock
from tests.broker import Mosquitto
from tests.certificates import Authority, Pair

LONG_AGO = dt.datetime(1970, 1, 1, 0, 3, tzinfo=dt.UTC)


def now_at() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


GOOD_CLOCK = WallClock(now_at, lambda: True)


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs", "another CA")


def serve(mosquitto: Mosquitto, pair: Pair, *more: str) -> None:
    mosquitto.start(listener="\n".join([f"certfile {pair.certificate}", f"keyfile {pair.key}", *more]))


def dial(config: BrokerConfig, clock: WallClock = GOOD_CLOCK) -> Connected:
    wake = Wake()
    connection = Connection(config, wake, clock=clock)
    try:
        connection.dial()
        welcome = connection.wait_until_up(lambda: False)
        assert welcome is not None
        return welcome
    finally:
        connection.disconnect()
        wake.close()


def why(config: BrokerConfig, clock: WallClock = GOOD_CLOCK) -> str:
    with pytest.raises(LinkError) as caught:
        dial(config, clock)
    return str(caught.value)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_both_ends_show_a_good_certificate(mosquitto, ours, protocol):
    unit = ours.issue("unit-1")
    serve(mosquitto, ours.issue("b", host="127.0.0.1"), f"cafile {ours.file}", "require_certificate true",
          "use_identity_as_username true")  # fmt: skip
    for trust in ({"ca_file": ours.file}, {"ca_pem": ours.pem}, {"ca_pem": ours.pem, "ca_file": unit.key}):
        tls = Tls(certificate_file=unit.certificate, key_file=unit.key, **trust)
        assert dial(mosquitto.config(tls=tls, protocol=protocol))
    assert "u'unit-1'" in (mosquitto.folder / "mosquitto.log").read_text()


def test_a_name_is_checked_as_an_address_is(mosquitto, ours):
    serve(mosquitto, ours.issue("b", host="localhost"))
    tls = Tls(ca_file=ours.file)
    assert dial(BrokerConfig("localhost", mosquitto.port, "unit-1", tls=tls))
    says = why(mosquitto.config(tls=tls))
    assert "its certificate is for another host: check broker.host, or have one issued for it" in says
    assert "not valid for '127.0.0.1'" in says


@pytest.mark.parametrize(
    ("days", "state"), [((-9.0, -1.0), "has expired"), ((1.0, 9.0), "is not valid yet")], ids=["old", "new"]
)
def test_a_time_that_is_wrong_is_the_certificates_or_the_clocks(mosquitto, ours, days, state):
    serve(mosquitto, ours.issue("b", host="127.0.0.1", from_days=days[0], until_days=days[1]))
    config = mosquitto.config(tls=Tls(ca_file=ours.file))
    says = why(config)
    assert f"the broker's certificate {state}: have the broker's certificate, or that of its CA, r" in says
    assert re.search(rf"the unit's clock is synchronised and reads {now_at():%Y-%m-%d} \d\d:\d\d UTC", says)
    says = why(config, WallClock(lambda: LONG_AGO, lambda: True))
    assert f"certificate {state}: the unit's clock is wrong, and that is the likely cause: it reads" in says
    assert "reads 1970-01-01 00:03 UTC, which is before this firmware was made" in says
    says = why(config, WallClock(now_at, lambda: False))
    assert "the unit's clock is not synchronised, which is the likely cause" in says


def test_no_clock_that_is_right_is_called_wrong():
    assert now_at() > WRITTEN_AT
    assert GOOD_CLOCK.doubt() is None


def test_another_authority(mosquitto, ours, theirs):
    serve(mosquitto, theirs.issue("b", host="127.0.0.1"))
    says = why(mosquitto.config(tls=Tls(ca_file=ours.file)), WallClock(lambda: LONG_AGO, lambda: False))
    assert f"its certificate is not trusted: check broker.ca_file, {ours.file}" in says
    assert "clock" not in says
    says = why(mosquitto.config(tls=Tls()))
    assert "check broker.ca_file, which is not set: the system's authorities count" in says
    assert "check broker.ca_pem" in why(mosquitto.config(tls=Tls(ca_pem=ours.pem)))


@pytest.mark.parametrize("minimum", ["tlsv1.2", "tlsv1.3"])
def test_a_unit_that_the_broker_does_not_take(mosquitto, ours, theirs, minimum):
    """The broker's word on it comes after the handshake, and it closes at once: neither may be lost."""
    listener = (f"cafile {ours.file}", "require_certificate true", f"tls_version {minimum}")
    serve(mosquitto, ours.issue("b", host="127.0.0.1"), *listener)
    units: list[tuple[Pair | None, str]] = [
        (None, "the broker wants a certificate of the unit"),
        (theirs.issue("unit-1"), "the broker does not know the authority that signed the unit's certificate"),
        (ours.issue("old", from_days=-9, until_days=-1), "the broker finds the unit's certificate expired"),
        (ours.issue("new", from_days=1, until_days=9), "the broker does not take the unit's certificate"),
        (ours.issue("use", host="unit-1"), "the broker does not take the unit's certificate"),
    ]
    for unit, says in units * 3:
        own = (unit.certificate, unit.key) if unit else (None, None)
        said = why(mosquitto.config(tls=Tls(ours.file, *own)))
        assert says in said
        assert f"check broker.certificate_file, {own[0] or 'which is not set'}" in said


@contextlib.contextmanager
def old_server(pair: Pair) -> Iterator[int]:
    """A host that speaks nothing newer than TLS 1.1: mosquitto cannot be told to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(pair.certificate, pair.key)
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = server.accept()
                with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True):
                    pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def test_nothing_older_than_tls_1_2(ours):
    pair = ours.issue("b", host="127.0.0.1")
    with old_server(pair) as port:
        # That it is the version, and not the test's server: one that takes 1.1 gets in.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old = ssl.create_default_context(cafile=ours.file)
            old.set_ciphers("ALL:@SECLEVEL=0")
            old.minimum_version = ssl.TLSVersion.TLSv1
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            old.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            assert wrapped.version() == "TLSv1.1"
        says = why(BrokerConfig("127.0.0.1", port, "unit-1", tls=Tls(ca_file=ours.file)))
    assert "the broker has no TLS 1.2 or newer: it needs an update" in says


def test_one_end_without_tls(mosquitto, ours):
    mosquitto.start()
    assert f"cannot reach 127.0.0.1:{mosquitto.port}: " in why(mosquitto.config(tls=Tls(ca_file=ours.file)))
    mosquitto.stop()
    serve(mosquitto, ours.issue("b", host="127.0.0.1"))
    assert "closed the connection without a welcome: is that an MQTT broker, does it want TLS" in why(
        mosquitto.config()
    )


def test_a_file_that_cannot_be_used_is_named_with_its_key(tmp_path, ours, theirs):
    unit, other = ours.issue("unit-1"), theirs.issue("unit-1")
    pem, key, locked = unit.certificate, unit.key, tmp_path / "locked.key"
    words = ("openssl", "ec", "-aes256", "-passout", "pass:x", "-in", key, "-out", locked)
    subprocess.run(words, check=True, capture_output=True)
    assert Tls(ours.file, pem, key).context().minimum_version is ssl.TLSVersion.TLSv1_2
    for tls, says in (
        (Tls(ca_file=tmp_path), f"broker.ca_file: wanted a readable file, got {tmp_path}: Is a directory"),
        (Tls(ca_file=key), f"broker.ca_file: wanted certificates in PEM, got {key}"),
        (Tls(ca_pem="no"), "broker.ca_pem: wanted certificates in PEM, got 2 characters"),
        (Tls(certificate_file=tmp_path / "no", key_file=key), "broker.certificate_file: wanted a readable"),
        (Tls(certificate_file=pem, key_file=tmp_path / "no"), "broker.key_file: wanted a readable"),
        (
            Tls(certificate_file=pem, key_file=other.key),
            f"broker.key_file: wanted the key of the certificate in {pem}, got another key in {other.key}",
        ),
        (Tls(certificate_file=pem, key_file=locked), "without a passphrase"),
        (Tls(certificate_file=key, key_file=key), "wanted a certificate in PEM and its own key"),
    ):
        with pytest.raises(TlsUnusable, match=re.escape(says)):
            tls.context()
