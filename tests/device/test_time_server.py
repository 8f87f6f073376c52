"""One question to a time server, of one's own and to a real chronyd."""

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.device.time_server import Answer, NoTime, Server, ask, read_answer, servers
from tests.broker import until
from tests.time_server import TimeServer, chronyd, stamp

NOW_S = 1_795_000_000.0
_PACKET = struct.Struct("!BBbbII4sQQQQ")


def asked(port: int, timeout_s: float = 5.0) -> Answer:
    return ask(Server("127.0.0.1", port), time.time, 1_700_000_000.0, timeout_s)


@pytest.mark.parametrize("ahead_s", [0.0, -3600.0, 86_400.0 * 365, -0.25])
def test_it_tells_what_the_clock_lacks(ahead_s):
    with TimeServer(ahead_s) as server:
        answer = asked(server.port)
    assert answer.offset_s == pytest.approx(ahead_s, abs=answer.delay_s / 2 + 0.01)


def test_a_real_chronyd_is_understood(tmp_path):
    with chronyd(tmp_path) as port:
        found = []

        def answers():
            try:
                found.append(asked(port, 0.5))
            except NoTime:
                return False
            return True

        until(answers, "chronyd to answer")
    assert abs(found[0].offset_s) <= found[0].delay_s / 2 + 0.01


def test_nobody_there_is_told_within_its_time():
    with TimeServer(answer=lambda query, _reply: query[:10]) as server:
        with pytest.raises(NoTime, match="wanted an answer of 48 bytes"):
            asked(server.port)
        port = server.port
    began_s = time.monotonic()
    with pytest.raises(NoTime):
        asked(port, 0.5)
    assert time.monotonic() - began_s < 30


def test_an_answer_to_another_query_is_not_taken():
    def forged(_query, reply):
        return reply[:24] + bytes(8) + reply[32:]

    with TimeServer(ahead_s=1e6, answer=forged) as server, pytest.raises(NoTime, match="this query"):
        asked(server.port)


@pytest.mark.parametrize(
    ("first", "stratum"), [(0xE4, 2), (0x24, 0), (0x24, 16)], ids=["alarm", "kiss of death", "unset"]
)
def test_a_server_that_does_not_know_is_not_believed(first, stratum):
    answer = _PACKET.pack(first, stratum, 0, 0, 0, 0, bytes(4), 0, 7, stamp(NOW_S), stamp(NOW_S))
    with pytest.raises(NoTime, match="does not know"):
        read_answer(answer, 7, NOW_S, NOW_S, 0.0)


@pytest.mark.parametrize("true_s", [NOW_S, 2_085_978_495.0, 2_085_978_496.5, 2_200_000_000.0])
def test_ntp_s_new_era_of_2036_is_no_other_time(true_s):
    answer = _PACKET.pack(0x24, 2, 0, 0, 0, 0, bytes(4), 0, 7, stamp(true_s), stamp(true_s))
    found = read_answer(answer, 7, 1_000.0, 1_000.1, NOW_S)
    assert found.offset_s == pytest.approx(true_s - 1_000.05, abs=1e-3)


@given(st.binary(max_size=100))
def test_no_answer_breaks_it(answer):
    with pytest.raises(NoTime):
        read_answer(answer, 1 << 63, NOW_S, NOW_S + 0.1, 0.0)


def test_the_servers_are_those_of_chrony_else_of_timesyncd(tmp_path):
    systemd = tmp_path / "etc/systemd/timesyncd.conf.d"
    systemd.mkdir(parents=True)
    (systemd.parent / "timesyncd.conf").write_text("[Time]\n#NTP=no.example\nFallbackNTP=c.example\n")
    (systemd / "site.conf").write_text("[Time]\nNTP= a.example b.example\n")
    assert [server.host for server in servers(tmp_path)] == ["c.example", "a.example", "b.example"]
    chrony = tmp_path / "etc/chrony/sources.d"
    chrony.mkdir(parents=True)
    (chrony.parent / "chrony.conf").write_text("pool 2.debian.pool.ntp.org iburst\n# server no.example\n")
    (chrony / "site.sources").write_text("server time.example iburst port 11123\n")
    assert servers(tmp_path) == [Server("2.debian.pool.ntp.org"), Server("time.example", 11123)]
    assert servers(tmp_path / "nowhere") == []
