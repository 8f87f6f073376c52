"""Sealed pictures from the unit's hand to the reviewer's eye, and what stands in everybody else's way."""

import dataclasses
import datetime as dt
import hashlib
import json
import os
import random
import stat

import cv2
import msgspec
import numpy as np
import pytest

from edge.cli import main
from edge.clock import SystemClock
from edge.evidence.sealing import SEALED_MEDIA_TYPE, is_sealed, new_private_key, read_private_key, seal
from edge.evidence.thumbnail import encode
from edge.operator.incoming import read
from edge.operator.signing import read_key
from edge.operator.store import Store, StoreUnusable, pictures
from edge.operator.watching import Fleet
from edge.policy.document import ObjectRule, Thumbnail, read_policy
from edge.policy.judge import Answer, Finding, Opened
from edge.policy.recipient import Recipient
from edge.uplink.envelope import KeyUnusable
from edge.uplink.event_records import Origin
from edge.uplink.messages import Model, decode_event
from edge.uplink.report import Reporter
from edge.uplink.signals import Received
from edge.uplink.spool import Spool
from edge.uplink.topics import Topics
from edge.vision.types import Box, Track
from tests.broker import collect, subscribed, until
from tests.operator.conftest import DEFAULT_POLICY
from tests.operator.fleet import opened, picture
from tests.operator.test_ack import Ingesting
from tests.uplink.conftest import TOPICS, Relay, empty, quick_uplink

NOW = dt.datetime.now(dt.UTC)
KEY, NEXT = new_private_key(), new_private_key()
RULE = ObjectRule(id="phone", labels=("cell phone",), hold_s=2)


def photo(seed=0):
    """A JPEG as a unit makes it, of noise: nothing of it is likely to be found elsewhere by chance."""
    pixels = np.random.default_rng(seed).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    return encode(pixels, 40_000)


JPEG = photo().data


def key_file(folder, key, name="op.key", passphrase=None):
    path = folder / name
    path.write_bytes(key.pem(passphrase))
    return str(path)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def run(*arguments):
    return main(["operator", "open", *map(str, arguments)])


# Keys.


def test_a_pair_to_seal_to_is_made_and_the_line_for_the_policy_is_told(tmp_path, capsys):
    out = tmp_path / "review"
    assert main(["operator", "keygen", "--seal", str(out)]) == 0
    private, public = tmp_path / "review.key", tmp_path / "review.pub"
    assert (mode(private), mode(public)) == (0o600, 0o644)
    key = read_private_key(private)
    said = capsys.readouterr().out
    assert f"key id: {key.kid}\n" in said
    assert "PRIVATE" not in said
    document = json.loads(DEFAULT_POLICY.read_text())
    document |= json.loads("{" + said.splitlines()[-1] + "}")
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document))
    assert read_policy(path).thumbnail.sealed_to == key.recipient
    before = private.read_bytes()
    assert main(["operator", "keygen", "--seal", str(out)]) == 2
    assert "wanted a new file, got one that is there" in capsys.readouterr().err
    assert private.read_bytes() == before


def test_the_two_kinds_of_key_are_not_taken_for_each_other(tmp_path, capsys):
    assert main(["operator", "keygen", "--seal", str(tmp_path / "seals")]) == 0
    assert main(["operator", "keygen", str(tmp_path / "signs")]) == 0
    with pytest.raises(KeyUnusable):
        read_key(tmp_path / "seals.key", None)
    sealed = tmp_path / "e1.sealed"
    sealed.write_bytes(seal(JPEG, KEY.recipient, "cam-1", "e1"))
    assert run(sealed, "--unit", "cam-1", "--event", "e1", "--key", tmp_path / "signs.key") == 2
    assert "wanted an X25519 private key" in capsys.readouterr().err


def test_a_passphrase_protects_it(tmp_path, capsys):
    secret, wrong, sealed = tmp_path / "secret", tmp_path / "wrong", tmp_path / "e1.sealed"
    secret.write_text("open sesame\n")
    wrong.write_text("open barley\n")
    out = tmp_path / "op"
    assert main(["operator", "keygen", "--seal", str(out), "--passphrase-file", str(secret)]) == 0
    assert b"ENCRYPTED" in (tmp_path / "op.key").read_bytes()
    line = capsys.readouterr().out.splitlines()[-1]
    recipient = Recipient.parse(json.loads(f"{{{line}}}")["thumbnail"]["recipient"])
    sealed.write_bytes(seal(JPEG, recipient, "cam-1", "e1"))
    plain = key_file(tmp_path, KEY, "plain.key")
    options = [sealed, "--unit", "cam-1", "--event", "e1", "--key", tmp_path / "op.key", "--key", plain]
    assert run(*options, "--passphrase-file", wrong) == 2
    assert not (tmp_path / "e1.jpg").exists()
    assert run(*options, "--passphrase-file", secret) == 0
    assert (tmp_path / "e1.jpg").read_bytes() == JPEG
    assert "open sesame" not in "".join(capsys.readouterr())


# One file.


def test_one_file_opens_for_its_key_its_unit_and_its_event(tmp_path, capsys):
    sealed = tmp_path / "e1.sealed"
    sealed.write_bytes(seal(JPEG, KEY.recipient, "cam-1", "e1"))
    key, other = key_file(tmp_path, KEY), key_file(tmp_path, NEXT, "other.key")
    assert run(sealed, "--unit", "cam-1", "--event", "e1", "--key", other) == 1
    assert f"key {KEY.kid} is not here; it would open 1: {sealed}" in capsys.readouterr().err
    for unit, event in (("cam-2", "e1"), ("cam-1", "e2")):
        assert run(sealed, "--unit", unit, "--event", event, "--key", key) == 1
        wanted = f"wanted what was sealed to key {KEY.kid} for event '{event}' of unit '{unit}'"
        assert wanted in capsys.readouterr().err
    assert not list(tmp_path.glob("*.jpg"))
    assert run(sealed, "--unit", "cam-1", "--event", "e1", "--key", other, "--key", key) == 0
    out = tmp_path / "e1.jpg"
    assert out.read_bytes() == JPEG
    assert mode(out) == 0o600


def test_nothing_is_written_over_and_the_same_again_is_no_fault(tmp_path, capsys):
    sealed, out = tmp_path / "e1.sealed", tmp_path / "mine.jpg"
    sealed.write_bytes(seal(JPEG, KEY.recipient, "cam-1", "e1"))
    options = [sealed, "--unit", "cam-1", "--event", "e1", "--key", key_file(tmp_path, KEY), "-o", out]
    out.write_bytes(b"mine")
    assert run(*options) == 2
    assert "wanted a new file, got one that is there" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    out.unlink()
    assert run(*options) == run(*options) == 0


@pytest.mark.parametrize("inside", [b"", b"not a picture", JPEG[:-2], b"\xff\xd8\xff"])
def test_what_opens_to_no_jpeg_is_not_written(tmp_path, inside, capsys):
    sealed = tmp_path / "e1.sealed"
    sealed.write_bytes(seal(inside, KEY.recipient, "cam-1", "e1"))
    assert run(sealed, "--unit", "cam-1", "--event", "e1", "--key", key_file(tmp_path, KEY)) == 1
    assert "wanted a JPEG" in capsys.readouterr().err
    assert not (tmp_path / "e1.jpg").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "wanted either FILE or --store"),
        (["x", "--store", "y"], "wanted either FILE or --store"),
        (["--store", "y"], "wanted --out FOLDER"),
        (["x", "--key", "k"], "wanted --unit and --event"),
        (["x", "--unit", "u", "--event", "e"], "wanted --key"),
        (["x", "--unit", "u", "--event", "e", "--key", "k", "--out", "f"], "wanted --store beside it"),
        (["x", "--unit", "u", "--event", "../e", "--key", "k"], "--event: wanted printable characters"),
        (["x", "--unit", "u", "--event", "e", "--key", "/no/such"], "wanted a readable key file"),
        (["--store", "/no/such", "--out", "f"], "unable to open database file"),
    ],
)
def test_what_cannot_be_begun_is_said(options, says, capsys):
    assert run(*options) == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_not_sealed_is_refused(tmp_path, capsys):
    key, file = key_file(tmp_path, KEY), tmp_path / "e1"
    options = [file, "--unit", "u", "--event", "e1", "--key", key]
    assert run(*options) == 2
    assert "wanted a sealed picture, got: No such file" in capsys.readouterr().err
    for data in (JPEG, b"", b"DWS1", os.urandom(100)):
        file.write_bytes(data)
        assert run(*options) == 1
        assert "wanted a sealed picture" in capsys.readouterr().err
    assert not (tmp_path / "e1.jpg").exists()


# A store.


def sealed_pair(seq, key, jpeg=JPEG, unit="unit-1", days=20):
    """An event that announces a sealed picture, and that picture, as they arrive."""
    event = opened(seq, unit=unit, with_picture=True, expires_at=NOW + dt.timedelta(days=days))
    document = msgspec.json.decode(event.payload)
    data = seal(jpeg, key.recipient, unit, document["id"])
    document["data"]["thumbnail"] |= {
        "media_type": SEALED_MEDIA_TYPE,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "recipient": key.kid,
    }
    topic = Topics("acme", unit).thumb(document["id"])
    return (
        Received(event.topic, 1, retain=False, payload=msgspec.json.encode(document)),
        Received(topic, 1, retain=False, payload=data, content_type=SEALED_MEDIA_TYPE),
    )


def stored(folder, *messages, now_at=NOW):
    path = folder / "events.db"
    with Store.open(path, "acme") as store:
        store.take([read("acme", message) for message in messages], now_at)
    return path


def test_a_store_opens_with_the_keys_of_before_and_after_a_rotation(tmp_path, capsys):
    """The policy changed key between 1 and 2; 3 came from a unit that seals nothing."""
    other = photo(3).data
    event = opened(3, unit="unit-2", with_picture=True, expires_at=NOW + dt.timedelta(days=20))
    document = msgspec.json.decode(event.payload)
    document["data"]["thumbnail"] |= {"bytes": len(other), "sha256": hashlib.sha256(other).hexdigest()}
    plain = Received(event.topic, 1, retain=False, payload=msgspec.json.encode(document))
    image = Received(Topics("acme", "unit-2").thumb(document["id"]), 1, retain=False, payload=other)
    store = stored(tmp_path, *sealed_pair(1, KEY), *sealed_pair(2, NEXT), plain, image)
    old, new = key_file(tmp_path, KEY, "old.key"), key_file(tmp_path, NEXT, "new.key")
    out = tmp_path / "a" / "out"
    assert run("--store", store, "--out", out, "--key", new) == 1
    said = capsys.readouterr()
    assert f"key {KEY.kid} is not here; it would open 1: unit-1/unit-1-ee-1\n" in said.err
    assert said.out.endswith("2 opened, 1 not\n")
    files = {str(path.relative_to(out)): path for path in out.rglob("*.jpg")}
    assert set(files) == {"unit-1/unit-1-ee-2.jpg", "unit-2/unit-2-ee-3.jpg"}
    assert files["unit-2/unit-2-ee-3.jpg"].read_bytes() == other
    assert run("--store", store, "--out", out, "--key", new, "--key", old) == 0
    assert (out / "unit-1" / "unit-1-ee-1.jpg").read_bytes() == JPEG
    assert {mode(path) for path in out.rglob("*.jpg")} == {0o600}
    assert mode(out) == mode(out / "unit-1") == 0o700


def test_a_store_opens_for_one_unit_and_one_event(tmp_path, capsys):
    store = stored(tmp_path, *sealed_pair(1, KEY), *sealed_pair(2, KEY), *sealed_pair(1, KEY, unit="unit-2"))
    key, out = key_file(tmp_path, KEY), tmp_path / "out"
    assert run("--store", store, "--out", out, "--key", key, "--event", "unit-1-ee-2") == 0
    assert [path.name for path in out.rglob("*.jpg")] == ["unit-1-ee-2.jpg"]
    assert run("--store", store, "--out", out, "--key", key, "--unit", "unit-2") == 0
    assert len(list(out.rglob("*.jpg"))) == 2
    assert run("--store", store, "--out", out, "--key", key, "--event", "gone") == 1
    assert "gone: wanted its picture in the store" in capsys.readouterr().err


def test_a_picture_whose_retention_has_ended_is_not_opened_even_where_it_is_not_deleted_yet(tmp_path):
    store = stored(tmp_path, *sealed_pair(1, KEY, days=1), *sealed_pair(2, KEY, days=2))
    found = list(pictures(store, NOW + dt.timedelta(days=1, seconds=1)))
    assert [one.event_id for one in found] == ["unit-1-ee-2"]


def test_pictures_swapped_between_events_are_refused_by_their_hash_and_by_the_seal(tmp_path, capsys):
    (event, data), (_, other) = sealed_pair(1, KEY), sealed_pair(2, KEY)
    swapped = dataclasses.replace(data, payload=other.payload)
    key, out = key_file(tmp_path, KEY), tmp_path / "out"
    store = stored(tmp_path, swapped)  # without its event, nothing tells but the seal
    assert run("--store", store, "--out", out, "--key", key) == 1
    assert "unit-1/unit-1-ee-1: wanted what was sealed to key" in capsys.readouterr().err
    with Store.open(store, "acme") as open_store:
        assert open_store.take([read("acme", event)], NOW).pictures == 0
    assert run("--store", store, "--out", out, "--key", key) == 1
    assert "wanted the picture of sha256" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("unit", ["..", ".hidden", "~"])
def test_a_unit_or_event_that_would_leave_the_folder_is_named_and_not_written(tmp_path, unit, capsys):
    data = seal(JPEG, KEY.recipient, unit, "e1")
    store = stored(tmp_path, Received(Topics("acme", unit).thumb("e1"), 1, retain=False, payload=data))
    key, out = key_file(tmp_path, KEY), tmp_path / "a" / "out"
    assert run("--store", store, "--out", out, "--key", key) == 1
    assert "wanted an id that can name a file" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_picture_keeps_what_it_is_in_the_store_also_over_mqtt_3(tmp_path):
    (_, data) = sealed_pair(1, KEY)
    bare = Received(data.topic, 1, retain=False, payload=data.payload)
    assert read("acme", bare).media_type == read("acme", data).media_type == SEALED_MEDIA_TYPE
    assert read("acme", picture(1)).media_type == "image/jpeg"


def test_another_file_is_no_store(tmp_path):
    path = tmp_path / "x.db"
    for content in (b"", b"no database" * 1000):
        path.write_bytes(content)
        with pytest.raises(StoreUnusable):
            list(pictures(path, NOW))


def test_who_watches_reads_whom_it_is_sealed_to():
    (event, _) = sealed_pair(1, KEY)
    (line,) = Fleet("acme").take(event)
    assert line.text.endswith(f"sealed to {KEY.kid}")


# From end to end.


class Tap(Relay):
    """Keeps what crosses the wire, in both directions."""

    def __init__(self, to_port):
        self.seen = []
        super().__init__(to_port)

    def _packet(self, stream):
        packet = Relay._packet(stream)
        self.seen.append(packet)
        return packet


def shows(wire, jpeg):
    """Whether any part of the picture stands in what crossed the wire."""
    return b"JFIF" in wire or any(jpeg[at : at + 16] in wire for at in range(0, len(jpeg) - 16, 16))


@pytest.mark.parametrize("sealing", [True, False], ids=["sealed", "open"])
def test_the_broker_has_nothing_of_the_picture_and_the_reviewer_all_of_it(broker, tmp_path, sealing, capsys):
    """The worker's own JPEG, through spool, real broker and ingester. Unsealed, the same look finds it."""
    policy = read_policy(DEFAULT_POLICY)
    if sealing:
        policy = msgspec.structs.replace(policy, thumbnail=Thumbnail(recipient=KEY.recipient.text))
    jpeg, seen = photo(7), Track(1, "cell phone", 0.8, Box(0.1, 0.2, 0.3, 0.4), 0.0, 0.0, seen=True)
    ingesting, tap = Ingesting(broker, tmp_path), Tap(broker.port)
    try:
        ingesting.start()
        with Spool.open(tmp_path / "unit" / "spool.db") as spool, subscribed(broker, "#") as listener:
            origin = Origin(TOPICS, "boot-1", Model(name="ssd", sha256="ab" * 32))
            chance = random.Random(sealing)
            reporter = Reporter(origin, spool.put, chance, lambda: True, SystemClock(), spool.skip)
            verdict = Opened(RULE, 10.0, 12.0, Finding(Answer.YES, (seen,), frozenset()))
            reporter.opened(verdict, jpeg, policy, NOW)
            raw = b"".join(path.read_bytes() for path in (tmp_path / "unit").glob("spool.db*"))
            assert shows(raw, jpeg.data) is not sealing
            with quick_uplink(spool, dataclasses.replace(broker.config(), port=tap.port)):
                until(lambda: empty(spool), "all to leave", 30)
                got = collect(listener, lambda got: any("/thumb/" in one.topic for one in got), 30)
            until(lambda: ingesting.rows("SELECT count(*) FROM pictures") == [(1,)], "it to be stored", 30)
        wire = b"".join(tap.seen)
        assert shows(wire, jpeg.data) is not sealing
        event = next(decode_event(one.payload) for one in got if one.topic.endswith("/event"))
        (thumb,) = [one for one in got if "/thumb/" in one.topic]
        assert is_sealed(thumb.payload) is sealing
        media_type = SEALED_MEDIA_TYPE if sealing else "image/jpeg"
        assert thumb.content_type == event.data.thumbnail.media_type == media_type
        assert 0 < thumb.expiry_s <= 20 * 86_400
        assert ingesting.rows("SELECT media_type FROM pictures") == [(media_type,)]
        out = tmp_path / "out"
        store = ["--store", ingesting.store, "--out", out, "--key"]
        assert run(*store, key_file(tmp_path, NEXT)) == (1 if sealing else 0)
        assert run(*store, key_file(tmp_path, KEY, "k")) == 0
        assert (out / "unit-1" / f"{event.id}.jpg").read_bytes() == jpeg.data
        assert cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR) is not None
    finally:
        tap.close()
        ingesting.stop()
