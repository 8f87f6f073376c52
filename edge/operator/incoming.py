"""What an ingester needs of a message, and no more: an event type that is newer than it is stored as well."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.evidence.sealing import media_type_of
from edge.operator.addresses import unit_of
from edge.uplink.signals import Received
from edge.uplink.wire import Epoch, MessageId, Positive, Sha256, Text, Timestamp

GAP_TYPE = "deskwatch.gap.v1"
_Seq = Annotated[int, Meta(ge=1, le=2**53)]


@dataclass(frozen=True, slots=True)
class Gap:
    """What will never come."""

    what: Literal["event", "thumbnail"]
    epoch: str
    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """One event."""

    unit: str
    id: str
    epoch: str
    seq: int
    type: str
    time: str
    corrected: bool
    """Its time was put right: of two with the same id it is the better."""
    picture_expires_at: str | None
    """Of the picture that it announces."""
    picture_sha256: str | None
    gap: Gap | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class IncomingPicture:
    """One event's picture."""

    unit: str
    event_id: str
    media_type: str
    expiry_s: int | None
    """What the broker says is left of its retention."""
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is not what the contract says."""

    topic: str
    problem: str
    payload: bytes


Incoming = IncomingEvent | IncomingPicture | Unreadable


class _Picture(msgspec.Struct, frozen=True):
    expires_at: Timestamp
    sha256: Sha256


class _Data(msgspec.Struct, frozen=True):
    unit: Text
    tenant: Text
    epoch: Epoch
    seq: _Seq
    clock: Text
    thumbnail: _Picture | None = None


class _GapData(msgspec.Struct, frozen=True):
    what: Literal["event", "thumbnail"]
    lost_epoch: Epoch
    from_seq: Positive
    to_seq: Positive


class _Head(msgspec.Struct, frozen=True):
    id: MessageId
    type: Text
    time: Timestamp
    data: _Data


class _GapHead(msgspec.Struct, frozen=True):
    data: _GapData


_heads = msgspec.json.Decoder(_Head)
_gaps = msgspec.json.Decoder(_GapHead)


def read(tenant: str, message: Received) -> Incoming:
    """Return what came. Never raises: what cannot be read is kept as that."""
    try:
        match unit_of(tenant, message.topic):
            case (unit, ("event",)):
                return _event(tenant, unit, message.payload)
            case (unit, ("thumb", event_id)):
                media_type = message.content_type or media_type_of(message.payload)
                return IncomingPicture(
                    unit, event_id, media_type, message.expiry_s, message.topic, message.payload
                )
            case _:
                return Unreadable(message.topic, "a topic that no unit has", message.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return Unreadable(message.topic, str(error), message.payload)


def _event(tenant: str, unit: str, payload: bytes) -> IncomingEvent:
    head = _heads.decode(payload)
    data = head.data
    if (data.tenant, data.unit) != (tenant, unit):
        raise ValueError(f"data: wanted tenant and unit of the topic, got {data.tenant!r}, {data.unit!r}")
    gap = None
    if head.type == GAP_TYPE:
        lost = _gaps.decode(payload).data
        gap = Gap(lost.what, lost.lost_epoch, lost.from_seq, lost.to_seq)
    return IncomingEvent(
        unit=unit,
        id=head.id,
        epoch=data.epoch,
        seq=data.seq,
        type=head.type,
        time=head.time,
        corrected=data.clock == "corrected",
        picture_expires_at=data.thumbnail.expires_at if data.thumbnail else None,
        picture_sha256=data.thumbnail.sha256 if data.thumbnail else None,
        gap=gap,
        payload=payload,
    )
