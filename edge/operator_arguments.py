"""What may be typed behind `deskwatch operator`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

COMMAND_NAMES = ("spot-check", "break", "resume", "diagnose", "identify", "reload")


class Add(Protocol):
    """Adds a verb to `deskwatch operator`."""

    def __call__(self, name: str, about: str) -> argparse.ArgumentParser:
        """Return its parser."""
        ...


def add(
    verb: Add, model_option: Callable[[argparse.ArgumentParser], None], seconds: Callable[[str], float]
) -> None:
    """Add every verb of `deskwatch operator`."""
    _keygen(verb("keygen", "make a key pair that signs policies, or with --seal one that opens pictures"))
    sign = verb("sign", "check a policy and sign it")
    sign.add_argument("file", type=Path, metavar="POLICY.json")
    _key_options(sign, required=True)
    sign.add_argument("-o", dest="out", type=Path, metavar="OUT.jws", help="default: beside the policy")
    model_option(sign)
    push = verb("push", "send a signed policy to units, and wait for what becomes of it")
    _push(push, seconds)
    model_option(push)
    watch = verb("watch", "show events and states of a fleet as they come")
    _broker_options(watch)
    watch.add_argument("--unit", metavar="ID", help="only this one")
    watch.add_argument("--health", action="store_true", help="also how each fares: a line a minute")
    watch.add_argument("--json", action="store_true", help="one object a line")
    _ack(verb("ack", "store what the units say, and acknowledge it: the reference ingester"))
    _open(verb("open", "open sealed pictures, of an ingester's store or of one file"))
    _open_bundle(verb("open-bundle", "show what is in a unit's support bundle"))
    _command(verb("command", "tell a unit to look, to take a break and so on, and show its reply"), seconds)


def _keygen(keygen: argparse.ArgumentParser) -> None:
    keygen.add_argument("out", type=Path, metavar="OUT", help="makes OUT.key and OUT.pub")
    keygen.add_argument(
        "--seal",
        action="store_true",
        help="a pair that pictures or support bundles are sealed to, and opened with",
    )
    keygen.add_argument("--passphrase", action="store_true", help="ask for a passphrase for OUT.key")
    keygen.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="the passphrase: the first line of FILE"
    )


def _push(push: argparse.ArgumentParser, seconds: Callable[[str], float]) -> None:
    push.add_argument("file", type=Path, metavar="FILE", help="what sign made; with --key, also a policy")
    who = push.add_mutually_exclusive_group(required=True)
    who.add_argument("--unit", action="append", metavar="ID", help="this one; may be given again")
    who.add_argument("--fleet", action="store_true", help="every unit of the tenant that ever said how it is")
    _broker_options(push)
    _key_options(push, required=False)
    push.add_argument(
        "--timeout", type=seconds, default=300.0, metavar="S", help="wait so long at most (%(default)g)"
    )
    push.add_argument(
        "--no-wait-offline",
        action="store_true",
        help="neither wait for units that are offline nor count them: they get it when they are back",
    )
    push.add_argument("--json", action="store_true", help="one object a unit, at the end")


def _ack(ack: argparse.ArgumentParser) -> None:
    _broker_options(ack)
    ack.add_argument(
        "--store", type=Path, required=True, metavar="FILE", help="SQLite: tables events, pictures, gaps"
    )
    ack.add_argument(
        "--share",
        metavar="GROUP",
        help="one of several that share the work, on one --store; each needs its own --client-id",
    )


def _open(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="one sealed picture, as it came")
    parser.add_argument("--store", type=Path, metavar="FILE", help="all that are in the store of `ack`")
    parser.add_argument("--unit", metavar="ID", help="of that picture; with --store, only this unit's")
    parser.add_argument("--event", metavar="ID", help="of that picture; with --store, only this event's")
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="KEY",
        help="a private key of `keygen --seal`; give each that may be needed",
    )
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="of the KEYs that have one; else it is asked for"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="with --store: makes FOLDER/UNIT/EVENT.jpg"
    )
    parser.add_argument(
        "-o", dest="picture", type=Path, metavar="OUT.jpg", help="with FILE; default: beside it"
    )


def _open_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what `deskwatch support-bundle` wrote")
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        required=True,
        metavar="KEY",
        help="a private key of `keygen --seal`; give each that may be needed",
    )
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="of the KEYs that have one; else it is asked for"
    )
    parser.add_argument("--json", action="store_true", help="as it was sealed")


def _command(command: argparse.ArgumentParser, seconds: Callable[[str], float]) -> None:
    command.add_argument("name", choices=COMMAND_NAMES, metavar="NAME", help=", ".join(COMMAND_NAMES))
    command.add_argument("--unit", required=True, metavar="ID")
    _broker_options(command)
    command.add_argument("--reason", help="for break and resume: the worker reads it")
    command.add_argument("--for", dest="for_s", type=seconds, metavar="S", help="for identify: blink so long")
    command.add_argument(
        "--timeout", type=seconds, default=30.0, metavar="S", help="wait so long at most (%(default)g)"
    )
    command.add_argument("--json", action="store_true", help="the reply as it came")


def _key_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--key", type=Path, required=required, metavar="KEY", help="the private key that signs, in PEM"
    )
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="of KEY; without it, it is asked for"
    )


def _broker_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tenant", required=True, metavar="T", help="the organisation: a level of every topic"
    )
    group = parser.add_argument_group("broker")
    group.add_argument(
        "--broker", required=True, metavar="HOST[:PORT]", help="port 8883, or 1883 with --no-tls"
    )
    group.add_argument("--no-tls", action="store_true", help="in the clear; so it is on port 1883 anyway")
    group.add_argument("--ca-file", type=Path, metavar="PEM", help="default: the system's authorities")
    group.add_argument("--cert", type=Path, metavar="PEM", help="your own certificate, with --key-file")
    group.add_argument("--key-file", type=Path, metavar="PEM", help="its private key")
    group.add_argument("--username", metavar="NAME", help="as the broker knows you")
    group.add_argument(
        "--password-file", type=Path, metavar="FILE", help="its first line; without it, it is asked for"
    )
    group.add_argument("--protocol", choices=("5", "3.1.1"), default="5", help="of MQTT (%(default)s)")
    group.add_argument("--client-id", metavar="ID", help="where the broker's access list goes by it")
