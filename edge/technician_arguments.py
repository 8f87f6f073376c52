"""What may be typed by whoever looks after a unit: its diagnosis, its status."""

import argparse
from collections.abc import Callable
from pathlib import Path

_CONFIG = Path("/etc/deskwatch/unit.toml")
_DIAGNOSE_EXIT = (
    "Exit codes: 0 all as wanted (or skipped), 1 a warning, 2 something fails, 3 a check could not run, "
    "64 wrong usage."
)


def add(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the commands; `command` makes one of its name and what it is about."""
    _diagnose(command("diagnose", "what is wrong with this unit, and what to do about it"))
    _config(command("aim", "line up the camera by a live, coarse picture, once the worker agrees"))
    _status(command("status", "what this unit does and why, on one screen"))
    _support(
        command("support-bundle", "what support may know of this unit, in a file that only they can open")
    )


def _diagnose(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    parser.add_argument("--json", action="store_true", help="all results as one object")
    parser.add_argument("--only", metavar="GLOB", help="only checks of such names: 'broker.*' (all)")
    parser.add_argument("--offline", action="store_true", help="send nothing over a network")
    parser.epilog = _DIAGNOSE_EXIT


def _status(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    parser.add_argument("--json", action="store_true", help="all that is known as one object")


def _support(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="(support-TIME.bundle, here)")
    parser.add_argument("--offline", action="store_true", help="send nothing over a network to find out more")


def _config(parser: argparse.ArgumentParser) -> None:
    about = "of the unit that is here (%(default)s)"
    parser.add_argument("--config", type=Path, default=_CONFIG, metavar="unit.toml", help=about)
