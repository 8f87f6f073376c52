"""Downloads a card's model, and puts it in place only when it is whole and the right one."""

import http.client
import os
import re
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from edge.errors import EdgeError
from edge.vision.card import Card, ModelError
from edge.vision.model_file import check_model

Progress = Callable[[int, int | None], None]
"""Told the bytes that came so far, and how many there are in all where the server says so."""

_CHUNK_BYTES = 1 << 16
_ARCHIVE_SLACK_BYTES = 1 << 20  # a licence and a label list beside the model


class FetchError(EdgeError):
    """The model was not fetched, and nothing was changed: the message says why. Mend that and try again."""


class FetchAddressless(FetchError):
    """Its card names no address: take the file from where the card came from, or set DESKWATCH_MODELS."""


class FetchOffline(FetchError):
    """No answer from the server: check the network, or copy the file by hand and set DESKWATCH_MODELS."""


class FetchRefused(FetchError):
    """The server answered, but not with the file: the address in the card may be out of date."""


class FetchTruncated(FetchError):
    """The connection broke before the end: try again."""


class FetchTooLarge(FetchError):
    """The download is larger than the card allows: it is not that model; report it."""


class FetchUnwritable(FetchError):
    """The model cannot be written there: name another folder, or make room."""


def fetch(
    card: Card,
    into: Path,
    opener: Callable[..., Any] = urllib.request.urlopen,
    progress: Progress = lambda _done, _total: None,
    timeout_s: float = 30.0,
) -> Path:
    """Download the model of `card` into the folder `into`, verify it, and return its path.

    A right file that is there already is kept. Raises FetchError or, where what came is not the card's model,
    ModelError; either way `into` is as it was before.
    """
    path = into / card.file
    try:
        if path.is_file():
            check_model(card, path)
            return path
    except ModelError:
        if card.provenance.url is None:
            raise  # nothing could take its place: say what is wrong with it
    except OSError as error:
        raise FetchUnwritable(f"{path}: wanted a place for the model, got {error.strerror}") from error
    url = card.provenance.url
    if url is None:
        raise FetchAddressless(f"{card.name}: wanted a provenance.url to fetch {card.file} from, got none")
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into, prefix=f".{card.file}.", suffix=".part") as scratch:
            whole = _model(card, _download(card, url, Path(scratch), opener, progress, timeout_s))
            check_model(card, whole, named=url)
            whole.chmod(0o644)
            whole.replace(path)
    except OSError as error:
        raise FetchUnwritable(f"{path}: wanted to write the model, got {error.strerror or error}") from error
    return path


def _download(
    card: Card, url: str, scratch: Path, opener: Callable[..., Any], progress: Progress, timeout_s: float
) -> Path:
    """Save what is at the card's address, at most as large as the card allows, and return the file."""
    most = card.size_bytes + (_ARCHIVE_SLACK_BYTES if card.provenance.member else 0)
    saved = scratch / "download"
    with saved.open("wb") as file, _open(url, opener, timeout_s) as response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None
        try:
            done = _copy(response, file, most, lambda done: progress(done, total), url)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise FetchTruncated(f"{url}: wanted the whole file, got {error!r} on the way") from error
        if total is not None and done < total:
            raise FetchTruncated(f"{url}: wanted {total} bytes, got {done}")
        file.flush()
        os.fsync(file.fileno())
    return saved


def _open(url: str, opener: Callable[..., Any], timeout_s: float) -> Any:  # noqa: ANN401 (urllib's answer)
    try:
        return opener(url, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchRefused(f"{url}: wanted the model, got HTTP {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchOffline(f"{url}: wanted an answer, got {reason}") from error
    except ValueError as error:  # of the address, in the words of urllib
        raise FetchError(f"{url}: wanted a web address, got one that is none: {error}") from error


def _model(card: Card, saved: Path) -> Path:
    """Return the model out of what was downloaded."""
    member = card.provenance.member
    if member is None:
        return saved
    model = saved.with_name("model")
    try:
        with zipfile.ZipFile(saved) as archive, archive.open(member) as packed, model.open("wb") as file:
            _copy(packed, file, card.size_bytes, lambda _done: None, f"{card.provenance.url} {member}")
            file.flush()
            os.fsync(file.fileno())
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise FetchRefused(f"{card.provenance.url}: wanted a zip with {member}, got {error}") from error
    return model


def _copy(source: IO[bytes], file: IO[bytes], most: int, progress: Callable[[int], None], name: str) -> int:
    """Copy at most `most` bytes and return how many. Raises FetchTooLarge."""
    done = 0
    while chunk := source.read(_CHUNK_BYTES):
        done += len(chunk)
        if done > most:
            raise FetchTooLarge(f"{name}: wanted at most {most} bytes, got more")
        file.write(chunk)
        progress(done)
    return done
