"""HPKE again, straight from RFC 9180 on bare primitives, so that the firmware's is not its own judge.

Base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, the first message of a context.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_KEM = b"KEM" + (0x0020).to_bytes(2, "big")
_HPKE = b"HPKE" + b"".join(one.to_bytes(2, "big") for one in (0x0020, 0x0001, 0x0003))


def encrypted(
    plain: bytes, to: bytes, info: bytes, aad: bytes = b"", ephemeral: bytes | None = None
) -> bytes:
    """Return enc and ciphertext; `to` is the raw public key, `ephemeral` a raw private one."""
    own = X25519PrivateKey.from_private_bytes(ephemeral) if ephemeral else X25519PrivateKey.generate()
    enc = own.public_key().public_bytes_raw()
    shared = own.exchange(X25519PublicKey.from_public_bytes(to))
    key, nonce = _schedule(shared, enc, to, info)
    return enc + ChaCha20Poly1305(key).encrypt(nonce, plain, aad)


def decrypted(data: bytes, key: X25519PrivateKey, info: bytes, aad: bytes = b"") -> bytes:
    """Return what `encrypted` was given."""
    enc, cipher = data[:32], data[32:]
    shared = key.exchange(X25519PublicKey.from_public_bytes(enc))
    secret, nonce = _schedule(shared, enc, key.public_key().public_bytes_raw(), info)
    return ChaCha20Poly1305(secret).decrypt(nonce, cipher, aad)


def _schedule(shared: bytes, enc: bytes, to: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Sections 4.1 and 5.1: the shared secret, then key and base nonce, which is the nonce of message 0."""
    extracted = _extract(_KEM, b"", b"eae_prk", shared)
    secret = _expand(_KEM, extracted, b"shared_secret", enc + to, 32)
    context = b"\0" + _extract(_HPKE, b"", b"psk_id_hash", b"") + _extract(_HPKE, b"", b"info_hash", info)
    prk = _extract(_HPKE, secret, b"secret", b"")
    return _expand(_HPKE, prk, b"key", context, 32), _expand(_HPKE, prk, b"base_nonce", context, 12)


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, hashlib.sha256)


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    whole = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    assert length <= 32
    return hmac.digest(prk, whole + b"\x01", hashlib.sha256)[:length]
