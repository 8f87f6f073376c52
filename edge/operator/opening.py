"""Sealed pictures, opened with the reviewer's keys: those of an ingester's store, or one in a file."""

import argparse
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edge.border import read_bounded
from edge.errors import EdgeError
from edge.evidence.sealing import (
    NotSealed,
    PrivateKey,
    SealError,
    UnknownRecipient,
    is_sealed,
    new_private_key,
    open_sealed,
    read_private_key,
)
from edge.operator.access import ask
from edge.operator.files import FileThere, key_files, read_secret, write_new, write_pair
from edge.operator.signing import is_encrypted
from edge.operator.store import SavedPicture, pictures
from edge.output import OutputUnwritable, complain, put
from edge.story import printable
from edge.uplink.wire import checked_id

GOOD, PARTLY = 0, 1
MAX_PICTURE_BYTES = 1 << 20
_NAME = re.compile(r"[\w@-][\w .@-]{0,63}\Z")
"""A unit's or an event's id that may name a file: nothing hidden, no way out of the folder."""
_BEGINS, _ENDS = b"\xff\xd8\xff", b"\xff\xd9"
"""A JPEG: SOI and the next marker, and EOI."""


class WrongOpening(EdgeError):
    """Two options of `open` do not go together: see `deskwatch operator open --help`."""


class NotTheOne(EdgeError):
    """It is not the picture that the event announced: do not take it for one; ask how it came there."""


class NoPictureFile(EdgeError):
    """The file with the sealed picture cannot be read: give one, as it came on the topic `thumb`."""


@dataclass(slots=True)
class Tally:
    """What became of the pictures."""

    written: int = 0
    there: int = 0
    """Opened before: the same file was there."""
    problems: list[str] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What a key would open that is not here, by the key's id."""


def make_keys(out: Path, passphrase: str | None) -> PrivateKey:
    """Make a key pair to seal to, `out`.key (0600) and `out`.pub. Raises FileThere, OutputUnwritable."""
    key = new_private_key()
    write_pair(out, key.pem(passphrase), key.public_pem())
    return key


def told(out: Path, key: PrivateKey, *, encrypted: bool) -> list[str]:
    """Return what to do with a new pair, in lines."""
    private, public = key_files(out)
    guarded = "encrypted" if encrypted else "it has no passphrase"
    return [
        f"key id: {key.kid}",
        f"{private}: opens what is sealed to it; keep it here, {guarded}. Who loses it sees none of it again",
        f"{public}: the public half. For support bundles it goes to the units, by their unit.toml:",
        "",
        "[support]",
        f'key_file = "/etc/deskwatch/{public.name}"',
        "",
        "For pictures the policy has it in full:",
        "",
        f'"thumbnail": {{"recipient": "{key.recipient.text}"}}',
    ]


def run(arguments: argparse.Namespace) -> int:
    """Open what was named; return the exit code. Raises EdgeError where that cannot be begun."""
    _check(arguments)
    keys = [read_key(path, arguments.passphrase_file) for path in arguments.key]
    tally = Tally()
    if arguments.store is None:
        _open_file(arguments, keys, tally)
    else:
        now_at = datetime.now(UTC)
        found = pictures(arguments.store, now_at, unit=arguments.unit, event_id=arguments.event)
        open_all(found, keys, arguments.out, tally)
        if arguments.event and not (tally.written or tally.there or tally.problems or tally.missing):
            tally.problems.append(
                f"{arguments.event}: wanted its picture in the store, got none, or none any more"
            )
    for kid, needing in tally.missing.items():
        complain(printable(f"key {kid} is not here; it would open {len(needing)}: {', '.join(needing)}"))
    for problem in tally.problems:
        complain(printable(problem))
    left = len(tally.problems) + sum(map(len, tally.missing.values()))
    there = f", {tally.there} there already" if tally.there else ""
    put(f"{tally.written} opened{there}" + (f", {left} not" if left else ""))
    return PARTLY if left else GOOD


def open_all(found: Iterable[SavedPicture], keys: Sequence[PrivateKey], out: Path, tally: Tally) -> None:
    """Write each picture as `out`/unit/event.jpg, with mode 0600; those that came open as they are.

    Raises OutputUnwritable.
    """
    for picture in found:
        what = f"{picture.unit}/{picture.event_id}"
        try:
            jpeg = opened(picture, keys)
            folder = out / _file_name(picture.unit)
            path = folder / f"{_file_name(picture.event_id)}.jpg"
            _make(folder)
            fresh = _write(path, jpeg)
        except UnknownRecipient as error:
            tally.missing[error.kid].append(what)
        except (SealError, NotTheOne, FileThere) as error:
            tally.problems.append(f"{what}: {error}")
        else:
            tally.written += fresh
            tally.there += not fresh
            put(printable(f"{path}{'' if fresh else ': there already'}"))


def opened(picture: SavedPicture, keys: Sequence[PrivateKey]) -> bytes:
    """Return the JPEG. Raises SealError, NotTheOne."""
    sha256 = hashlib.sha256(picture.data).hexdigest()
    if picture.announced_sha256 not in (None, sha256):
        raise NotTheOne(f"wanted the picture of sha256 {picture.announced_sha256}, got {sha256}")
    jpeg = picture.data
    if is_sealed(jpeg):
        jpeg = open_sealed(jpeg, keys, picture.unit, picture.event_id)
    if not (jpeg.startswith(_BEGINS) and jpeg.endswith(_ENDS)):
        raise NotTheOne(f"wanted a JPEG, got {len(jpeg)} bytes of something else")
    return jpeg


def _open_file(arguments: argparse.Namespace, keys: Sequence[PrivateKey], tally: Tally) -> None:
    file: Path = arguments.file
    try:
        data = read_bounded(file, MAX_PICTURE_BYTES)
    except OSError as error:
        raise NoPictureFile(f"{file}: wanted a sealed picture, got: {error.strerror}") from error
    path: Path = arguments.picture or file.with_suffix(".jpg")
    try:
        if not is_sealed(data):
            raise NotSealed("wanted a sealed picture, got one that is not")
        jpeg = opened(SavedPicture(arguments.unit, arguments.event, data, None), keys)
    except UnknownRecipient as error:
        tally.missing[error.kid].append(str(file))
    except (SealError, NotTheOne) as error:
        tally.problems.append(f"{file}: {error}")
    else:
        _write(path, jpeg)
        tally.written += 1
        put(printable(str(path)))


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.file is None) == (arguments.store is None):
        raise WrongOpening("wanted either FILE or --store, got both or neither")
    if arguments.store is not None and (arguments.out is None or arguments.picture is not None):
        raise WrongOpening("--store: wanted --out FOLDER beside it, and no -o")
    if arguments.file is not None and not (arguments.unit and arguments.event):
        raise WrongOpening(f"{arguments.file}: wanted --unit and --event of that picture beside it")
    if arguments.file is not None and not arguments.key:
        raise WrongOpening(f"{arguments.file}: wanted --key beside it")
    if arguments.file is not None and arguments.out is not None:
        raise WrongOpening("--out: wanted --store beside it; for one FILE there is -o")
    for what in ("unit", "event"):
        if getattr(arguments, what) is not None:
            checked_id(f"--{what}", getattr(arguments, what))


def read_key(path: Path, passphrase_file: Path | None) -> PrivateKey:
    """Return a key; its passphrase is asked for where it has one and no file tells it."""
    if not is_encrypted(path):
        return read_private_key(path)
    if passphrase_file is not None:
        return read_private_key(path, read_secret(passphrase_file))
    return read_private_key(path, ask(f"passphrase of {path}", "--passphrase-file"))


def _file_name(text: str) -> str:
    if _NAME.match(text) is None:
        raise NotTheOne(f"wanted an id that can name a file, got {text!r}")
    return text


def _make(folder: Path) -> None:
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputUnwritable(f"{folder}: wanted a folder for pictures, got: {error.strerror}") from error


def _write(path: Path, jpeg: bytes) -> bool:
    """Write a new file; return False where one that holds the same was there already, and stays."""
    try:
        write_new(path, jpeg, mode=0o600)
    except FileThere:
        try:
            same = read_bounded(path, MAX_PICTURE_BYTES) == jpeg
        except OSError:
            same = False
        if not same:
            raise
        return False
    return True
