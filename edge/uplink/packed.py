"""The properties of a PUBLISH as bytes; paho's own objects take as long as all else of a message.

MQTT 5, sections 2.2.2 and 3.3.2.3. A test holds what is written here against paho's.
"""

from dataclasses import dataclass
from typing import Self

from edge.uplink.signals import Publication

_CONTENT_TYPE, _EXPIRY, _USER = b"\x03", b"\x02", b"\x26"


@dataclass(frozen=True, slots=True)
class PackedProperties:
    """Stands where paho wants `Properties`, of which it asks only `pack`."""

    packed: bytes

    @classmethod
    def of(cls, message: Publication) -> Self:
        """Return the properties of a message. Raises ValueError for a text of more than 65,535 bytes."""
        parts = [_CONTENT_TYPE, _text(message.content_type)]
        if message.expiry_s is not None:
            parts += [_EXPIRY, message.expiry_s.to_bytes(4)]
        for name, value in message.user:
            parts += [_USER, _text(name), _text(value)]
        body = b"".join(parts)
        return cls(_length(len(body)) + body)

    def pack(self) -> bytes:
        """Return the length and the properties, ready for the wire."""
        return self.packed


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > 0xFFFF:
        raise ValueError(f"a property: wanted at most 65535 bytes, got {len(data)}")
    return len(data).to_bytes(2) + data


def _length(value: int) -> bytes:
    """Return a Variable Byte Integer: seven bits a byte, the lowest first (section 1.5.5)."""
    out = bytearray()
    while True:
        value, bits = divmod(value, 128)
        out.append(bits | (0x80 if value else 0))
        if not value:
            return bytes(out)
