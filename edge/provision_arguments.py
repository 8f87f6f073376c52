"""What may be typed behind `deskwatch provision` and `deskwatch reset`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from edge.provision.wifi import FOLDER as WIFI_FOLDER

_CONFIG = Path("/etc/deskwatch/unit.toml")


def add(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add both commands; `command` makes one of its name and what it is about."""
    _provision(command("provision", "this unit's key, certificate and site settings"))
    _reset(command("reset", "erase all that this unit knows: it is as it came"))


def _provision(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)

    def way(name: str, about: str) -> None:
        what.add_argument(f"--{name}", dest="what", action="store_const", const=name, help=about)

    way("request", "make a key here and print the request for its certificate; again: the same request")
    what.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="put the certificate that came back in force, if key, name, issuer and dates fit",
    )
    way("check", "say how the certificate stands: exit code 1 when two thirds of its life are over")
    way("revert", "put the certificate before this one in force again")
    way("import", "take deskwatch.toml from the card's boot partition, then wipe it there")
    parser.set_defaults(what="certificate")
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="who signs units' certificates, in PEM (the one of last time)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="with --request: write it there")
    parser.add_argument(
        "--new-key", action="store_true", help="with --request: another key than the one that waits"
    )
    parser.add_argument("--unit", metavar="ID", help="with --request: the CN (unit.id of the settings)")
    parser.add_argument(
        "--site", type=Path, metavar="FILE", help="with --import: another file than the card's"
    )
    _places(parser)


def _reset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--factory", action="store_true", required=True, help="yes, all of it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--site", type=Path, help=argparse.SUPPRESS)
    _places(parser)


def _places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, default=_CONFIG, metavar="unit.toml", help="the unit's settings (%(default)s)"
    )
    parser.add_argument("--identity", type=Path, metavar="FOLDER", help="(identity, beside unit.toml)")
    parser.add_argument("--wifi", type=Path, default=WIFI_FOLDER, metavar="FOLDER", help="(%(default)s)")
