"""The signed envelope: what a trusted key signed comes out as it went in, and nothing else comes out."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.uplink.envelope import (
    MAX_ENVELOPE_BYTES,
    TYPE,
    EnvelopeError,
    KeyUnusable,
    new_signing_key,
    open_envelope,
    read_public_key,
    read_signing_key,
    seal,
    trust,
)
from edge.uplink.twin_messages import RefusalCode

KEY = new_signing_key()
TRUSTED = trust(KEY.public)
DOCUMENT = b'{"schema": "policy/1", "version": 7}'
ENVELOPE = seal(DOCUMENT, KEY)


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(header: object, payload: bytes = b64(DOCUMENT), *, raw: Ed25519PrivateKey | None = None) -> bytes:
    """An envelope with any header, under a signature that is good."""
    key = raw or KEY._key.private_key
    head = b64(header if isinstance(header, bytes) else json.dumps(header).encode())
    return b".".join((head, payload, b64(key.sign(head + b"." + payload))))


def refusal(envelope: bytes, trusted=TRUSTED) -> RefusalCode:
    with pytest.raises(EnvelopeError) as refused:
        open_envelope(envelope, trusted)
    return refused.value.code


GOOD = {"alg": "Ed25519", "kid": KEY.kid, "typ": TYPE}


def test_what_was_sealed_comes_out_byte_for_byte():
    opened = open_envelope(ENVELOPE, TRUSTED)
    assert (opened.document, opened.kid) == (DOCUMENT, KEY.kid)
    assert open_envelope(signed(GOOD), TRUSTED) == opened  # these tests sign as the library does


def test_the_protected_header_is_exactly_that():
    header = ENVELOPE.split(b".")[0]
    assert json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4))) == GOOD


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=2_000))
def test_any_document_comes_out_as_it_went_in(document):
    assert open_envelope(seal(document, KEY), TRUSTED).document == document


def test_every_single_byte_counts():
    for at in range(len(ENVELOPE)):
        for other in (b"A", b"B", b".", b"=", b"\x00", b"\xff", bytes([ENVELOPE[at] ^ 1])):
            if ENVELOPE[at : at + 1] != other:
                refusal(ENVELOPE[:at] + other + ENVELOPE[at + 1 :])
        refusal(ENVELOPE[:at] + ENVELOPE[at + 1 :])
        refusal(ENVELOPE[:at] + b"A" + ENVELOPE[at:])


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_bring_out_another_error(noise):
    refusal(noise)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(ENVELOPE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_mutation_passes_or_brings_out_another_error(changes):
    spoilt = bytearray(ENVELOPE)
    for at, byte in changes:
        spoilt[at] = byte
    if spoilt != ENVELOPE:
        refusal(bytes(spoilt))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "zip"]), JSON_VALUES))
def test_no_header_passes_but_the_one(header):
    """Even under a good signature."""
    assert refusal(signed(header)) is RefusalCode.BAD_ENVELOPE


@pytest.mark.parametrize(
    "header",
    [
        {**GOOD, "crit": ["b64"], "b64": True},
        {**GOOD, "crit": []},
        {**GOOD, "b64": False},
        {**GOOD, "jwk": {}},
        {**GOOD, "jku": "https://example.com"},
        {**GOOD, "cty": "policy"},
        {**GOOD, "alg": "EdDSA"},
        {**GOOD, "alg": "Ed448"},
        {**GOOD, "alg": "ES256"},
        {**GOOD, "alg": "ed25519"},
        {**GOOD, "typ": "JWT"},
        {"alg": "Ed25519", "kid": KEY.kid},
        {"alg": "Ed25519", "typ": TYPE},
        {**GOOD, "kid": None},
        [GOOD],
        b"",
        b"\xff",
        b"{" * 300,
    ],
)
def test_another_header_is_refused(header):
    assert refusal(signed(header)) is RefusalCode.BAD_ENVELOPE


def test_no_algorithm_is_none():
    head = b64(json.dumps({**GOOD, "alg": "none"}).encode())
    for signature in (b"", b64(bytes(64))):
        assert refusal(b".".join((head, b64(DOCUMENT), signature))) is RefusalCode.BAD_ENVELOPE


def test_the_public_key_is_no_secret_to_sign_with():
    """HS256 with the public key as its secret, which a verifier that asks the header believes."""
    for secret in (KEY.public.pem(), KEY._key.public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)):
        head = b64(json.dumps({**GOOD, "alg": "HS256"}).encode())
        digest = hmac.new(secret, head + b"." + b64(DOCUMENT), hashlib.sha256).digest()
        for signature in (digest, digest * 2):
            refusal(b".".join((head, b64(DOCUMENT), b64(signature))))


def test_an_unencoded_or_detached_payload_is_refused():
    assert refusal(signed({**GOOD, "b64": False, "crit": ["b64"]}, DOCUMENT)) is RefusalCode.BAD_ENVELOPE
    head, _, signature = ENVELOPE.split(b".")
    assert refusal(head + b".." + signature) is RefusalCode.BAD_ENVELOPE


def test_the_other_serializations_are_refused():
    head, payload, signature = (part.decode() for part in ENVELOPE.split(b"."))
    flat = {"protected": head, "payload": payload, "signature": signature}
    assert refusal(json.dumps(flat).encode()) is RefusalCode.BAD_ENVELOPE
    assert refusal(DOCUMENT) is RefusalCode.BAD_ENVELOPE


def test_a_signature_has_one_spelling():
    """The last character has four bits that say nothing; a second envelope of the same signature is none."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    value = alphabet.index(ENVELOPE[-1:])
    for more in range(1, 16):
        assert refusal(ENVELOPE[:-1] + alphabet[value + more : value + more + 1]) is RefusalCode.BAD_ENVELOPE
    for blank in (b"=", b"==", b"\n", b" "):
        assert refusal(ENVELOPE + blank) is RefusalCode.BAD_ENVELOPE
        assert refusal(blank + ENVELOPE) is RefusalCode.BAD_ENVELOPE


def test_another_key_is_named():
    stranger = new_signing_key()
    with pytest.raises(EnvelopeError, match=KEY.kid) as refused:
        open_envelope(seal(DOCUMENT, stranger), TRUSTED)
    assert refused.value.code is RefusalCode.UNKNOWN_KEY
    assert stranger.kid in str(refused.value)
    assert refusal(ENVELOPE, {}) is RefusalCode.UNKNOWN_KEY
    forged = signed(GOOD, raw=Ed25519PrivateKey.generate())
    assert refusal(forged) is RefusalCode.BAD_SIGNATURE


def test_size_is_bounded_on_both_sides():
    largest = b"x" * 64_000
    assert open_envelope(seal(largest, KEY), TRUSTED).document == largest
    with pytest.raises(EnvelopeError) as refused:
        seal(b"x" * MAX_ENVELOPE_BYTES, KEY)
    assert refused.value.code is RefusalCode.TOO_LARGE
    assert refusal(ENVELOPE.ljust(MAX_ENVELOPE_BYTES + 1, b"A")) is RefusalCode.TOO_LARGE


def test_keys_are_read_as_openssl_makes_them(tmp_path):
    run = lambda *words: subprocess.run(words, check=True, capture_output=True, cwd=tmp_path)  # noqa: E731
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", "key.pem")
    run("openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "key.pub")
    key, public = read_signing_key(tmp_path / "key.pem"), read_public_key(tmp_path / "key.pub")
    assert key.kid == public.kid
    assert open_envelope(seal(DOCUMENT, key), trust(public)).document == DOCUMENT
    (tmp_path / "ours.pem").write_bytes(KEY.pem("secret"))
    run("openssl", "pkey", "-in", "ours.pem", "-passin", "pass:secret", "-pubout", "-out", "ours.pub")
    assert read_public_key(tmp_path / "ours.pub") == KEY.public
    assert read_signing_key(tmp_path / "ours.pem", "secret").kid == KEY.kid


def test_the_key_s_id_is_the_standard_s_thumbprint(tmp_path):
    """RFC 8037, appendix A.3: the key of appendix A.2."""
    spki = bytes.fromhex("302a300506032b6570032100")
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    body = base64.b64encode(spki + raw).decode()
    (tmp_path / "rfc.pub").write_text(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    assert read_public_key(tmp_path / "rfc.pub").kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_key_file_that_cannot_be_used_is_named(tmp_path):
    def refused(content: bytes, says: str, read=read_public_key, **more):
        (tmp_path / "it.pem").write_bytes(content)
        with pytest.raises(KeyUnusable, match=rf"it\.pem: {says}"):
            read(tmp_path / "it.pem", **more)

    with pytest.raises(KeyUnusable, match=r"absent: wanted a readable key file"):
        read_public_key(tmp_path / "absent")
    refused(KEY.pem(), "wanted a public key, got a private one")
    refused(b"", "wanted an Ed25519 public key")
    refused(b"\xff" * 100, "wanted an Ed25519 public key")
    refused(b"A" * 5_000, "wanted a readable key file, got: more than")
    other_curve = X25519PrivateKey.generate().public_key()
    refused(
        other_curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "wanted an Ed25519 public"
    )
    refused(KEY.public.pem(), "wanted a private key", read_signing_key)
    refused(KEY.pem("secret"), "wanted an Ed25519 private key", read_signing_key)
    refused(KEY.pem("secret"), "wanted an Ed25519 private key", read_signing_key, passphrase="other")
    refused(KEY.pem(), "wanted an Ed25519 private key", read_signing_key, passphrase="needless")


def test_no_key_is_shown():
    for shown in (repr(KEY), repr(KEY.public), str(KEY)):
        assert "PRIVATE" not in shown
        assert "_key" not in shown


def test_a_unit_that_trusts_no_key_does_not_load_cryptography():
    code = (
        "import sys, edge.uplink.twin as twin, edge.uplink.envelope as e\n"
        f"try: e.open_envelope({ENVELOPE!r}, {{}})\n"
        "except e.EnvelopeError as error: assert error.code == 'unknown-key', error\n"
        "else: raise SystemExit(1)\n"
        "raise SystemExit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
