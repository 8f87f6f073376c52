"""The AsyncAPI 3.0 document: every topic of a unit, which way it goes, and what is in it."""

from dataclasses import dataclass
from typing import Any, Literal

from edge import __version__
from edge.contract.described import flowing
from edge.contract.schemas import Schema, as_draft_07, components
from edge.uplink.command_messages import COMMANDS
from edge.uplink.envelope import ALGORITHM, TYPE
from edge.uplink.messages import EVENT_CONTENT_TYPE
from edge.uplink.topics import Topics
from edge.uplink.wire import JSON

_MQTT = "0.2.0"
"""Version of AsyncAPI's MQTT bindings."""
_TOPICS = Topics("{tenant}", "{unit}")
_SCHEMAS = "#/components/schemas/{name}"
_PARAMETERS = {
    "tenant": "The organisation.",
    "unit": "The unit: also its client id, its user name and the CN of its certificate.",
    "event_id": "`id` of the event whose picture it is.",
    "name": "The command's name: the last level of its topic.",
}
_ABOUT = """What a deskwatch unit says over MQTT, and what it listens to. The document is the unit's:
it sends what it sends, and receives what you send. QoS is 1, but for `health`, so a message may come twice:
drop what you have by its id. It works with MQTT 5 and with 3.1.1: the payloads carry all that matters; with
MQTT 5 the content type, and a picture's expiry, are properties too."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic, or one family of them."""

    name: str
    address: str
    way: Literal["send", "receive"]
    """As the unit sees it."""
    summary: str
    payload: str | Schema
    """A name of PAYLOADS, or a schema of its own."""
    content_type: str = JSON
    retain: bool = False
    qos: Literal[0, 1] = 1
    expiry: Schema | None = None
    """Schema of the MQTT 5 message expiry, in seconds, where one is set."""
    reply: str | None = None
    """Channel of the answer."""


_JPEG: Schema = {
    "type": "string",
    "format": "binary",
    "description": "A JPEG; not JSON, and not base64. Where the event's `thumbnail.recipient` names a key, a "
    "picture that is sealed to it, of content type `application/vnd.deskwatch.sealed`.",
}
_JWS: Schema = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
    "description": "A JWS in compact serialization (RFC 7515), signed with Ed25519 (RFC 9864). Its protected "
    f'header is `{{"alg": "{ALGORITHM}", "kid": …, "typ": "{TYPE}"}}`, `kid` being the RFC 7638 thumbprint '
    "of the key; its payload is a policy document (schema `policy`), byte for byte.",
}
_RETENTION: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": 20 * 86_400,
    "description": "What is left of the picture's retention.",
}
_COMMAND_LEFT: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": 86_400,
    "description": "Until the command's `expires_at`: then no broker keeps it longer.",
}

_UP = (
    Channel("state", _TOPICS.state, "send", "Birth, each change, goodbye; the will.", "state", retain=True),
    Channel("event", _TOPICS.event, "send", "Events, in order of `seq`.", "event", EVENT_CONTENT_TYPE),
    Channel(
        "thumb",
        _TOPICS.thumb("{event_id}"),
        "send",
        "The redacted picture of one event, always behind it.",
        _JPEG,
        "image/jpeg",
        expiry=_RETENTION,
    ),
    Channel("health", _TOPICS.health, "send", "How the unit fares, every minute.", "health", qos=0),
    Channel(
        "reported",
        _TOPICS.reported,
        "send",
        "What became of the newest desired policy.",
        "reported",
        retain=True,
    ),
    Channel("reply", _TOPICS.reply("{name}"), "send", "What became of a command.", "reply"),
)
_DOWN = (
    Channel(
        "desired",
        _TOPICS.desired,
        "receive",
        "The signed policy that the unit should follow, whole.",
        _JWS,
        "application/jose",
        retain=True,
    ),
    *(
        Channel(
            f"command-{name}",
            _TOPICS.command(name),
            "receive",
            f"The command `{name}`.",
            f"command-{name}",
            expiry=_COMMAND_LEFT,
            reply="reply",
        )
        for name in COMMANDS
    ),
    Channel("ack", _TOPICS.ack, "receive", "What the ingester has for good.", "ack", retain=True),
    Channel("activity", _TOPICS.activity, "receive", "Beats of the workstation.", "activity"),
)
CHANNELS = (*_UP, *_DOWN)


def document() -> dict[str, Any]:
    """Return the whole of it."""
    tops, named = components(_SCHEMAS)
    schemas = {name: as_draft_07(schema) for name, schema in named.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "deskwatch unit",
            "version": __version__,
            "description": flowing(_ABOUT),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {"broker": _server()},
        "channels": {channel.name: _channel(channel, tops) for channel in CHANNELS},
        "operations": {f"{channel.way}-{channel.name}": _operation(channel) for channel in CHANNELS},
        "components": {"schemas": schemas},
    }


def _server() -> dict[str, Any]:
    return {
        "host": "broker.example.com:8883",
        "protocol": "mqtts",
        "protocolVersion": "5",
        "description": "Yours: any broker of MQTT 5 or 3.1.1 that keeps sessions and retained messages.",
        "bindings": {
            "mqtt": {
                "clientId": "{unit}",
                "cleanSession": False,
                "lastWill": {"topic": _TOPICS.state, "qos": 1, "retain": True},
                "keepAlive": 30,
                "bindingVersion": _MQTT,
            }
        },
    }


def _channel(channel: Channel, tops: dict[str, Schema]) -> dict[str, Any]:
    wanted = {name: text for name, text in _PARAMETERS.items() if f"{{{name}}}" in channel.address}
    payload = channel.payload
    schema = as_draft_07(tops[payload]) if isinstance(payload, str) else payload
    message = {
        "name": channel.name,
        "summary": channel.summary,
        "contentType": channel.content_type,
        "payload": schema,
    }
    return {
        "address": channel.address,
        "summary": channel.summary,
        "messages": {channel.name: message},
        "parameters": {name: {"description": text} for name, text in wanted.items()},
    }


def _operation(channel: Channel) -> dict[str, Any]:
    binding: dict[str, Any] = {"qos": channel.qos, "retain": channel.retain}
    if channel.expiry is not None:
        binding["messageExpiryInterval"] = channel.expiry
    operation: dict[str, Any] = {
        "action": channel.way,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.summary,
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{channel.name}"}],
        "bindings": {"mqtt": {**binding, "bindingVersion": _MQTT}},
    }
    if channel.reply is not None:
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{channel.reply}"},
            "messages": [{"$ref": f"#/channels/{channel.reply}/messages/{channel.reply}"}],
        }
    return operation
