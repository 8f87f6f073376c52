"""Sealed pictures: for one key, one unit and one event, or not at all."""

import hashlib
import os
import subprocess
import sys

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import example, given
from hypothesis import strategies as st

from edge.evidence import sealing
from edge.evidence.sealing import (
    CannotSeal,
    NotSealed,
    SealError,
    SealKeyUnusable,
    Spoilt,
    UnknownRecipient,
    new_private_key,
    open_sealed,
    read_private_key,
    seal,
    sealed_to,
)
from edge.policy.recipient import Recipient
from tests import hpke

JPEG = b"\xff\xd8\xff\xe0" + hashlib.shake_256(b"picture").digest(900) + b"\xff\xd9"
UNIT, EVENT = "cam-1", "7cd41a1f-5719-43ee-9d40-4dc6404c635e"
KEY, OTHER = new_private_key(), new_private_key()
SEALED = seal(JPEG, KEY.recipient, UNIT, EVENT)
INFO = b"DWS1" + b"\x00\x05" + UNIT.encode() + b"\x00\x24" + EVENT.encode()
"""As docs/messages.md says it."""

# RFC 9180, A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode, sequence number 0.
VECTOR = {
    "info": "4f6465206f6e2061204772656369616e2055726e",
    "skEm": "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600",
    "skRm": "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
    "pkRm": "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a",
    "enc": "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
    "pt": "4265617574792069732074727574682c20747275746820626561757479",
    "aad": "436f756e742d30",
    "ct": "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
}


def test_the_second_hpke_is_the_one_of_the_rfc():
    """The library's single shot takes no additional data, the RFC's vectors have some: they judge this."""
    v = {name: bytes.fromhex(value) for name, value in VECTOR.items()}
    made = hpke.encrypted(v["pt"], v["pkRm"], v["info"], v["aad"], v["skEm"])
    assert made == v["enc"] + v["ct"]
    assert (
        hpke.decrypted(made, X25519PrivateKey.from_private_bytes(v["skRm"]), v["info"], v["aad"]) == v["pt"]
    )


def test_what_we_seal_the_second_hpke_opens_and_the_other_way_round():
    head = b"DWS1" + KEY.recipient.kid_bytes
    assert SEALED.startswith(head)
    assert hpke.decrypted(SEALED[len(head) :], KEY._key, INFO) == JPEG
    theirs = head + hpke.encrypted(JPEG, KEY.recipient.raw, INFO)
    assert open_sealed(theirs, [KEY], UNIT, EVENT) == JPEG
    with pytest.raises(InvalidTag):
        hpke.decrypted(SEALED[len(head) :], KEY._key, INFO + b"\0")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)


@given(jpeg=st.binary(max_size=2000), unit=TEXTS, event=TEXTS)
def test_a_picture_opens_to_itself_with_the_right_key_among_others(jpeg, unit, event):
    data = seal(jpeg, KEY.recipient, unit, event)
    assert open_sealed(data, [OTHER, KEY], unit, event) == jpeg
    assert sealed_to(data) == KEY.kid
    assert len(data) == len(jpeg) + sealing.OVERHEAD_BYTES


def test_nothing_of_the_picture_shows_and_no_two_sealings_are_alike():
    again = seal(JPEG, KEY.recipient, UNIT, EVENT)
    assert again[36:] != SEALED[36:]
    assert not any(JPEG[at : at + 8] in SEALED for at in range(len(JPEG) - 8))


def test_a_second_operators_key_does_not_open_it_even_under_the_firsts_name():
    with pytest.raises(UnknownRecipient, match=KEY.kid) as unknown:
        open_sealed(SEALED, [OTHER], UNIT, EVENT)
    assert unknown.value.kid == KEY.kid
    with pytest.raises(UnknownRecipient):
        open_sealed(SEALED, [], UNIT, EVENT)
    renamed = b"DWS1" + OTHER.recipient.kid_bytes + SEALED[36:]
    with pytest.raises(Spoilt):
        open_sealed(renamed, [OTHER], UNIT, EVENT)


@pytest.mark.parametrize(
    ("unit", "event"),
    [
        ("cam-2", EVENT),
        (UNIT, EVENT[:-1] + "f"),
        ("", UNIT + EVENT),
        (UNIT + EVENT[:1], EVENT[1:]),
        (EVENT, UNIT),
    ],
)
def test_it_is_bound_to_its_unit_and_event(unit, event):
    with pytest.raises(Spoilt, match="wanted what was sealed to key"):
        open_sealed(SEALED, [KEY], unit, event)


def test_every_truncation_is_refused():
    for length in range(len(SEALED)):
        with pytest.raises(NotSealed if length < sealing.OVERHEAD_BYTES else Spoilt):
            open_sealed(SEALED[:length], [KEY], UNIT, EVENT)
    with pytest.raises(Spoilt):
        open_sealed(SEALED + b"\0", [KEY], UNIT, EVENT)


def test_every_flipped_byte_is_refused():
    for at in range(len(SEALED)):
        flipped = bytearray(SEALED)
        flipped[at] ^= 0x01
        with pytest.raises(NotSealed if at < 4 else UnknownRecipient if at < 36 else Spoilt):
            open_sealed(bytes(flipped), [KEY], UNIT, EVENT)


@given(at=st.integers(36, len(SEALED) - 1), mask=st.integers(1, 255))
@example(at=67, mask=0x80)  # X25519 does not read the top bit; HPKE binds the byte all the same
def test_any_change_of_any_byte_is_refused(at, mask):
    changed = bytearray(SEALED)
    changed[at] ^= mask
    with pytest.raises(Spoilt):
        open_sealed(bytes(changed), [KEY], UNIT, EVENT)


@given(head=st.sampled_from([b"", b"DWS1", SEALED[:36], SEALED[:68]]), rest=st.binary(max_size=300))
def test_garbage_raises_nothing_but_a_seal_error(head, rest):
    with pytest.raises(SealError):
        open_sealed(head + rest, [KEY], UNIT, EVENT)


@pytest.mark.parametrize("u", [0, 1, 2**255 - 20, 2**255 - 19, 2**256 - 1])
def test_a_sender_that_agrees_on_zeros_is_refused(u):
    forged = SEALED[:36] + u.to_bytes(32, "little") + SEALED[68:]
    with pytest.raises(Spoilt):
        open_sealed(forged, [KEY], UNIT, EVENT)


def test_a_picture_that_cannot_be_sealed_is_an_error_and_nothing_else(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.hpke", None)
    sealing._suite.cache_clear()
    try:
        with pytest.raises(CannotSeal, match="wanted to seal a picture to key"):
            seal(JPEG, KEY.recipient, UNIT, EVENT)
        with pytest.raises(CannotSeal):
            sealing.parcel(JPEG, KEY.recipient, UNIT, EVENT)
        assert sealing.parcel(JPEG, None, UNIT, EVENT).data == JPEG
    finally:
        sealing._suite.cache_clear()


def test_a_unit_that_seals_nothing_does_not_load_cryptography():
    program = (
        "import sys; import edge.uplink.report; from edge.evidence.sealing import parcel;"
        "parcel(b'jpeg', None, 'u', 'e'); assert not any(n.startswith('cryptography') for n in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# The public key in a policy.


def recipient_of(u):
    return "x25519:" + sealing.base64url(u.to_bytes(32, "little"))


FIELD = 2**255 - 19
SMALL = [
    0,
    1,
    FIELD - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]


def test_a_recipient_is_read_and_known_by_its_thumbprint():
    # RFC 8037, A.6, with its thumbprint as another implementation (joserfc) has it.
    from joserfc.jwk import OKPKey

    key = OKPKey.import_key(
        {"kty": "OKP", "crv": "X25519", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}
    )
    recipient = Recipient.parse("x25519:3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08")
    assert recipient.kid == key.thumbprint()
    assert Recipient.parse(recipient.text) == recipient
    assert Recipient.parse(KEY.recipient.text).kid == KEY.kid


@pytest.mark.parametrize("u", SMALL)
def test_points_of_small_order_are_refused_and_are_such(u):
    with pytest.raises(ValueError, match="small order"):
        Recipient.parse(recipient_of(u))
    with pytest.raises(ValueError, match="shared key"):
        KEY._key.exchange(X25519PublicKey.from_public_bytes(u.to_bytes(32, "little")))


@pytest.mark.parametrize("u", [FIELD, FIELD + 1, FIELD + 9, 2**255 - 1, 2**255, 2**255 + 9, 2**256 - 1])
def test_a_second_spelling_of_a_point_is_refused(u):
    with pytest.raises(ValueError, match="below 2\\^255 - 19"):
        Recipient.parse(recipient_of(u))


TEXT = "x25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
"""A key that is the same in every process: its parts are the names of tests."""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key-1",
        TEXT + "=",
        TEXT + "\n",
        TEXT[:-1],
        TEXT + "A",
        TEXT.replace("x25519:", ""),
        TEXT.replace("x25519:", "X25519:"),
        TEXT.replace("x25519:", "ed25519:"),
        TEXT[:20] + "+" + TEXT[21:],
        TEXT[:20] + "/" + TEXT[21:],
        TEXT[:20] + " " + TEXT[21:],
        TEXT[:20] + "é" + TEXT[21:],
    ],
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ValueError, match="wanted x25519: and 43 characters of base64url"):
        Recipient.parse(text)


def test_bits_that_mean_nothing_are_zero():
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [c for c in last if c != TEXT[-1] and last.index(c) // 4 == last.index(TEXT[-1]) // 4]
    assert len(others) == 3
    for other in others:
        with pytest.raises(ValueError, match="wanted the spelling"):
            Recipient.parse(TEXT[:-1] + other)


@given(st.binary(min_size=32, max_size=32))
def test_whatever_key_is_taken_can_be_sealed_to(raw):
    try:
        recipient = Recipient(raw)
    except ValueError:
        return
    assert seal(JPEG, recipient, UNIT, EVENT).startswith(b"DWS1")


# Key files.


def test_a_private_key_comes_back_from_its_file(tmp_path):
    path = tmp_path / "op.key"
    for passphrase in (None, "open sesame"):
        path.write_bytes(KEY.pem(passphrase))
        assert read_private_key(path, passphrase) == KEY
        assert open_sealed(SEALED, [read_private_key(path, passphrase)], UNIT, EVENT) == JPEG
    assert "open sesame" not in repr(read_private_key(path, "open sesame"))
    for wrong in (None, "open barley"):
        with pytest.raises(SealKeyUnusable, match="its passphrase"):
            read_private_key(path, wrong)


def pem_of_another_kind():
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("pem", [b"", b"no key", KEY.public_pem(), pem_of_another_kind(), os.urandom(5000)])
def test_what_is_no_private_key_of_this_kind_is_refused(tmp_path, pem):
    path = tmp_path / "op.key"
    path.write_bytes(pem)
    with pytest.raises(SealKeyUnusable, match=r"op\.key: wanted"):
        read_private_key(path)
    with pytest.raises(SealKeyUnusable, match="wanted a readable key file"):
        read_private_key(tmp_path / "missing")
