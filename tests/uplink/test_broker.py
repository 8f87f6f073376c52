"""The demo's own broker, both of them, with the real uplink."""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge.uplink import broker as broker_module
from edge.uplink.broker import NoBroker, local_broker
from edge.uplink.link import BrokerConfig, Connection
from edge.uplink.listener import listen
from edge.uplink.messages import Capture, decode_state
from edge.uplink.records import Record
from edge.uplink.signals import Publication, Wake
from tests.broker import PROGRAM, collect, until
from tests.uplink.conftest import TOPICS, event_message, jpeg, quick_uplink, thumb_message

FOUND = broker_module.shutil.which


@pytest.fixture(params=["mosquitto", "amqtt"])
def which(request, monkeypatch):
    if request.param == "amqtt":
        pytest.importorskip("amqtt")
        monkeypatch.setattr(broker_module.shutil, "which", lambda *a, **k: None)
    elif not (FOUND("mosquitto") or FOUND("mosquitto", path="/usr/sbin")):
        pytest.skip("no mosquitto here")
    return request.param


def test_events_pictures_birth_and_offline_come_through(which, spool):
    with local_broker() as broker:
        assert broker.name.startswith(which + " ")
        assert broker.name.split()[1][0].isdigit()
        unit = BrokerConfig(broker.host, broker.port, "unit-1", protocol=broker.protocol)
        ear = BrokerConfig(broker.host, broker.port, "ear", protocol=broker.protocol)
        with listen(ear, "deskwatch/#") as listener:
            with quick_uplink(spool, unit):
                for _ in range(20):
                    spool.put(lambda seq: Record((event_message(seq), thumb_message(seq))))
                got = collect(listener, lambda messages: len(messages) >= 41)
            got += collect(listener, len)
        topics = [m.topic for m in got]
        assert topics[0] == topics[-1] == TOPICS.state
        assert topics[1:-1] == [t for n in range(1, 21) for t in (TOPICS.event, TOPICS.thumb(f"e{n}"))]
        assert got[2].payload == jpeg(1)
        with listen(ear, TOPICS.state) as late:
            (retained,) = collect(late, len)
        assert retained.retain
        assert decode_state(retained.payload).capture is Capture.STOPPED
    with pytest.raises(OSError):
        socket.create_connection((broker.host, broker.port), timeout=1)


def test_a_will_comes_through(which):
    with local_broker() as broker, contextlib.closing(Wake()) as wake:
        unit = BrokerConfig(broker.host, broker.port, "unit-1", protocol=broker.protocol)
        ear = BrokerConfig(broker.host, broker.port, "ear", protocol=broker.protocol)
        with listen(ear, "will") as listener:
            will = Publication("will", b"gone", "text/plain", retain=True)
            connection = Connection(unit, wake, will)
            connection.dial()
            connection.wait_until_up(lambda: False)
            connection.drop()
            (got,) = collect(listener, len)
        assert got.payload == b"gone"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of amqtt
def test_mqtt_5_to_a_broker_that_lacks_it_says_what_to_set(spool, monkeypatch):
    pytest.importorskip("amqtt")
    monkeypatch.setattr(broker_module.shutil, "which", lambda *a, **k: None)
    with local_broker() as broker:
        config = BrokerConfig(broker.host, broker.port, "unit-1", connect_timeout_s=1.0)
        with quick_uplink(spool, config) as uplink:
            until(lambda: uplink.status().last_error, "an error")
        assert "broker.protocol" in uplink.status().last_error
    gc.collect()


def test_no_broker_at_all(monkeypatch):
    monkeypatch.setattr(broker_module.shutil, "which", lambda *a, **k: None)
    monkeypatch.setitem(sys.modules, "amqtt", None)
    with pytest.raises(NoBroker, match=r"mosquitto.*deskwatch\[demo\]"), local_broker():
        pass


def test_a_mosquitto_that_will_not_start_says_why(tmp_path, monkeypatch):
    broken = tmp_path / "mosquitto"
    broken.write_text("#!/bin/sh\necho 'Error: no such luck' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(broker_module.shutil, "which", lambda *a, **k: str(broken))
    with pytest.raises(NoBroker, match="did not start: Error: no such luck"), local_broker():
        pass


HOLDER = """
import os, signal, sys, threading
from edge.uplink.broker import local_broker
# A shell starts what runs in the background with SIGINT ignored, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
with local_broker() as broker:
    try:
        print(broker.port, flush=True)
        threading.Event().wait(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.stdin.read()
"""


@contextlib.contextmanager
def holder():
    """A process, in a group of its own, that holds a mosquitto; and the mosquitto's port."""
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    with process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.skipif(PROGRAM is None, reason="no mosquitto here")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_dies_with_whoever_holds_it(how):
    with holder() as (process, port):
        assert answers(port)
        process.send_signal(how)
        until(lambda: not answers(port), "the broker to end")


@pytest.mark.skipif(PROGRAM is None, reason="no mosquitto here")
def test_a_ctrl_c_in_the_terminal_leaves_the_broker_for_the_goodbye():
    with holder() as (process, port):
        os.killpg(process.pid, signal.SIGINT)  # what a terminal sends: to all of the foreground group
        assert process.stdout.readline() == "interrupted\n"
        assert answers(port)
        process.stdin.close()
        assert process.wait(20) == 0
        assert not answers(port)
