"""The unit's health on its way, with a real broker: at QoS 0, never retained, never queued, never unnoted."""

import dataclasses
import itertools
import time

import msgspec
import pytest

from edge.clock import SteppedClock
from edge.uplink.diary import NotNoted, Unnoted
from edge.uplink.health_post import HealthPost
from edge.uplink.messages import Capture, Health, decode_health
from edge.uplink.wire import ClockQuality, timestamp
from tests.broker import collect, rest, subscribed, until
from tests.uplink.conftest import NOW, TOPICS, quick_uplink

pytestmark = pytest.mark.timeout(300)
EVERY_S = 0.2
HEALTH = Health(
    at=timestamp(NOW),
    session=1,
    boot_id="boot-1",
    clock=ClockQuality.SYNCHRONISED,
    clock_error_s=0.25,
    up_s=61.5,
    restarts=0,
    capture=Capture.WATCHING,
    frames=0,
    inferences=0,
    skipped=0,
    camera_faults=0,
    inference_p50_s=None,
    inference_p95_s=None,
    inference_p99_s=None,
    temperature_c=54.5,
    throttled=None,
    under_voltage=None,
    disk_free_bytes=None,
    memory_available_bytes=None,
    spool_events=0,
    spool_thumbnails=0,
    spool_used_bytes=0,
    dead_letters=0,
)


class Measured:
    """Counts by `frames` how often somebody asked."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.asked = 0

    def __call__(self) -> Health:
        self.asked = next(self._numbers)
        return msgspec.structs.replace(HEALTH, frames=self.asked)


def of_health(messages):
    return [message for message in messages if message.topic == TOPICS.health]


def enough(count):
    return lambda got: len(of_health(got)) >= count


def test_it_comes_again_and_again_behind_the_birth_at_qos_0_and_not_retained(mosquitto, spool):
    mosquitto.start()
    measured = Measured()
    with subscribed(mosquitto) as listener:
        with quick_uplink(spool, mosquitto.config(), health=measured, health_every_s=EVERY_S):
            got = collect(listener, enough(3))
        got += rest(listener)
    assert got[0].topic == TOPICS.state
    came = of_health(got)
    assert {(message.qos, message.retain) for message in came} == {(0, False)}
    assert {message.content_type for message in came} == {"application/json"}
    assert [decode_health(message.payload).frames for message in came] == list(range(1, len(came) + 1))
    with subscribed(mosquitto, TOPICS.health) as late:
        assert rest(late) == []


def test_over_3_1_1_as_well(mosquitto, spool):
    mosquitto.start()
    with subscribed(mosquitto) as listener:
        config = mosquitto.config(protocol="3.1.1")
        with quick_uplink(spool, config, health=Measured(), health_every_s=EVERY_S):
            collect(listener, enough(2))


def test_while_the_broker_is_away_nobody_is_asked_and_nothing_waits(mosquitto, relay, spool):
    mosquitto.start()
    measured = Measured()
    with subscribed(mosquitto) as listener:
        config = dataclasses.replace(mosquitto.config(), port=relay.port)
        with quick_uplink(spool, config, health=measured, health_every_s=EVERY_S) as uplink:
            got = collect(listener, enough(1))
            relay.cut()
            until(lambda: not uplink.status().connected, "the connection to be lost")
            before = measured.asked
            time.sleep(5 * EVERY_S)  # the time in which it is not asked is what is tried
            assert measured.asked == before
            relay.open = True
            got += collect(listener, enough(2))
        got += rest(listener)
    numbers = [decode_health(message.payload).frames for message in of_health(got)]
    assert len(numbers) == len(set(numbers))
    assert set(range(before + 1, measured.asked + 1)) <= set(numbers) | {measured.asked}


class Full(Unnoted):
    """Takes everything but health, while `full`."""

    def __init__(self) -> None:
        self.full, self.tried = True, 0

    def leaving(self, publications):
        if any(one.topic == TOPICS.health for one in publications):
            self.tried += 1
            if self.full:
                raise NotNoted("no space left")


def test_what_the_worker_s_log_does_not_take_does_not_leave(mosquitto, spool):
    mosquitto.start()
    diary, config = Full(), mosquitto.config()
    with (
        subscribed(mosquitto) as listener,
        quick_uplink(spool, config, health=Measured(), health_every_s=EVERY_S, diary=diary),
    ):
        until(lambda: diary.tried >= 3, "three to be tried")
        assert of_health(rest(listener)) == []
        diary.full = False
        collect(listener, enough(1))


def test_a_measurement_that_fails_ends_nothing(mosquitto, spool, caplog):
    mosquitto.start()
    answers = iter([RuntimeError("no sensor"), RuntimeError("no sensor")])

    def measure():
        for error in answers:
            raise error
        return HEALTH

    with (
        subscribed(mosquitto) as listener,
        quick_uplink(spool, mosquitto.config(), health=measure, health_every_s=EVERY_S),
    ):
        collect(listener, enough(1))
    assert caplog.text.count("the unit's health cannot be told") == 1


def test_a_link_that_flaps_is_no_reason_to_tell_more_often():
    clock = SteppedClock(NOW)
    post = HealthPost(TOPICS.health, lambda: HEALTH, clock, 60.0)
    told = []
    for _ in range(600):  # ten minutes, a new connection each second
        told.append(post.due() is not None)
        clock.sleep(1.0)
    assert [second for second, sent in enumerate(told) if sent] == list(range(0, 600, 60))
