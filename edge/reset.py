"""`deskwatch reset --factory`: as the unit came. state, identity and settings are erased."""

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge.config import Config, ConfigError, read_config
from edge.erasing import NotErased, erase_file, erase_tree, erase_within, let_go
from edge.errors import EdgeError
from edge.output import put
from edge.provision.command import identity_folder
from edge.provision.folder import part_of
from edge.provision.site import PLACES, is_wiped
from edge.provision.wifi import FILE as WIFI_FILE
from edge.state_folder import SPOOL_FILE

GOOD = 0
"""As the unit calls it."""
_HOME = Path("/etc/deskwatch")
"""All in it is deskwatch's own."""
_STATE = Path("/var/lib/deskwatch")
"""And in this, which is the state folder of a unit whose settings are there."""


class UnitRuns(EdgeError):
    """The unit runs and would write on: systemctl stop deskwatch deskwatch-safe, then reset again."""


class NotConfirmed(EdgeError):
    """Nothing was erased: type the unit's id when asked, or give --yes."""


class NoUnitHere(EdgeError):
    """This is not a unit's state folder, so nothing was erased: give the unit's own settings by --config."""


def run(arguments: argparse.Namespace) -> int:
    """Erase everything; return the exit code."""
    path: Path = arguments.config.absolute()
    config = _settings(path)
    state = _state(path, config)
    if state not in (None, _STATE):
        _check_state(state)
    if not arguments.yes:
        _confirm(config)
    if state is not None:
        state = state.resolve()  # on another disk, by a link: the unit follows it too
    places = PLACES if arguments.site is None else (arguments.site,)
    with _stopped(state):
        # What opens doors first, unit.toml last: after a power cut the same command finds the rest.
        erase_tree(identity_folder(arguments))
        for file in (arguments.wifi / WIFI_FILE, *places):
            erase_file(part_of(file))  # of an import that was cut off
            erase_file(file)
        if config is not None:
            for file in _named(config, path.parent):
                erase_file(file)
        if state is not None:
            _erase_state(state)
        if path.parent == _HOME:
            _erase_beside(path)
        erase_file(part_of(path))
        erase_file(path)
    _tell(path, state)
    _let_go([path.parent, arguments.wifi, *(place.parent for place in places), state])
    return GOOD


def _let_go(folders: list[Path | None]) -> None:
    """Have the disks forget what was replaced and deleted while the unit ran."""
    for folder in _disks(folders):
        if not let_go(folder):
            put(f"{folder}: its disk cannot be told to forget what was deleted before: encrypt the next one.")


def _tell(path: Path, state: Path | None) -> None:
    if state is None:
        put(f"Erased: identity and settings. No state: {path}, which told where it is, is gone.")
    else:
        put("Erased: state, the worker's log, identity and settings. The unit is as it came.")


def _settings(path: Path) -> Config | None:
    """Return the settings; None where there are none: what else there is goes all the same."""
    if not path.exists() or is_wiped(path):  # unit.toml goes last
        return None
    try:
        return read_config(path)
    except ConfigError:
        if path.parent == _HOME:  # where its state is is known
            return None
        raise


def _state(path: Path, config: Config | None) -> Path | None:
    """Return the unit's state folder; None where nothing tells which it is."""
    if config is not None:
        return config.paths.state
    return _STATE if path.parent == _HOME else None


def _check_state(state: Path) -> None:
    """Raise NoUnitHere for a folder that no unit made: a typing error in unit.toml must not empty a disk."""
    if not state.is_dir() or not any(state.iterdir()):
        return
    spool = (state / SPOOL_FILE, state / f"{SPOOL_FILE}.lock")
    if not any(file.exists() for file in spool):
        raise NoUnitHere(f"{state}: wanted a unit's state, with {SPOOL_FILE} in it, got a folder without")


def _confirm(config: Config | None) -> None:
    unit = "deskwatch" if config is None else config.unit.id
    if not sys.stdin or not sys.stdin.isatty():
        raise NotConfirmed("wanted --yes where no terminal is, got none")
    put("This erases the unit's state, the worker's log, its key and its settings, for good.")
    if input(f"Type {unit} to go on: ").strip() != unit:
        raise NotConfirmed(f"wanted {unit}, got something else")


@contextmanager
def _stopped(state: Path | None) -> Iterator[None]:
    """Hold every lock that a unit holds. Raises UnitRuns, NotErased."""
    with ExitStack() as held:
        for lock in sorted(state.rglob("*.lock")) if state is not None and state.is_dir() else ():
            try:
                file = held.enter_context(open(lock, "rb", opener=_no_link))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UnitRuns(f"{lock}: wanted nobody to hold it, got a running unit") from error
            except OSError as error:
                raise NotErased(f"{lock}: wanted to lock it, got: {error.strerror}") from error
        yield


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _named(config: Config, home: Path) -> Iterator[Path]:
    """Give the files that unit.toml names and that lie beside it: others may be the system's."""
    broker = config.broker
    for file in (
        broker.password_file,
        broker.key_file,
        broker.certificate_file,
        broker.ca_file,
        config.paths.policy,
        *config.twin.trusted_keys,
        config.support.key_file,
    ):
        if file is not None and file.absolute().is_relative_to(home):
            yield part_of(file)
            yield file
    if (figures := config.health.textfile) is not None:  # made by the unit, wherever it is
        yield figures.with_name(f".{figures.name}.new")
        yield figures


def _disks(folders: list[Path | None]) -> Iterator[Path]:
    """Give one folder, that there is, of each file system that they are in."""
    seen = set()
    for folder in folders:
        if folder is not None and folder.is_dir() and (disk := folder.stat().st_dev) not in seen:
            seen.add(disk)
            yield folder


def _erase_state(state: Path) -> None:
    """Erase what is in the folder; the spool, by which it is known for a unit's, and the locks at the end."""
    if not state.is_dir():
        return
    last = [entry for entry in state.iterdir() if entry.suffix == ".lock" or entry.name == SPOOL_FILE]
    for entry in state.iterdir():
        if entry in last:
            continue
        if entry.is_dir() and not entry.is_symlink():
            erase_tree(entry)
        else:
            erase_file(entry)
    erase_within(state)


def _erase_beside(path: Path) -> None:
    for entry in path.parent.iterdir():
        if entry.name == ".groups" or entry == path:  # the package's own note
            continue
        if entry.is_dir() and not entry.is_symlink():
            erase_tree(entry)
        else:
            erase_file(entry)
