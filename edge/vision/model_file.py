"""The model file: where it is looked for, and the proof that it is the one that its card describes."""

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import edge
from edge.vision.card import Card, CardMissing, ModelError

MODELS_ENV = "DESKWATCH_MODELS"
SHARED_ENV = "DESKWATCH_SHARED"
DEFAULT_CARD = "desk-384x320-int8"
"""The project's own model: committed beside its card, and what a unit looks with unless told otherwise."""
TFLITE_MAGIC = b"TFL3"
"""Bytes 4–8 of every TFLite file: the FlatBuffers identifier of schema version 3."""


class ModelMissing(ModelError):
    """The model file is nowhere: do what the message says, or set DESKWATCH_MODELS to its folder."""


class ModelNotTflite(ModelError):
    """The file is no TFLite model (a web page or a Git LFS pointer in its place?): take it anew."""


class ModelTruncated(ModelError):
    """The file is shorter or longer than its card says: take it anew from where it came."""


class ModelHashWrong(ModelError):
    """The file is not the one that the card describes: take it anew, or use the card that came with it."""


def checkout() -> Path:
    """Return the folder that holds the package `edge`."""
    return Path(edge.__file__).resolve().parent.parent


def shared_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the shared models, photos and clips are: $DESKWATCH_SHARED, else beside the checkout.

    It may not be there.
    """
    named = environ.get(SHARED_ENV)
    return Path(named) if named else checkout().parent / "shared"


def find_card(name_or_path: str) -> Path:
    """Return an existing path as it is, else the card of that name in the checkout or the installation."""
    try:
        if (path := Path(name_or_path)).is_file():
            return path
    except OSError as error:
        raise CardMissing(f"{name_or_path}: wanted a model card, got {error.strerror}") from error
    places = [checkout() / "models", Path(sys.prefix) / "share" / "deskwatch" / "models"]
    for place in places:
        if (card := place / f"{name_or_path}.toml").is_file():
            return card
    known = sorted({card.stem for place in places for card in place.glob("*.toml")})
    raise CardMissing(
        f"{name_or_path}: wanted the path of a card or one of {', '.join(known) or 'no cards at all'}"
    )


def model_folders(card_path: Path, environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return where a card's model is looked for: beside it, in $DESKWATCH_MODELS, in the shared folder."""
    named = [Path(folder) for folder in environ.get(MODELS_ENV, "").split(os.pathsep) if folder]
    return (card_path.parent, *named, shared_folder(environ) / "models")


def find_model(card: Card, folders: Sequence[Path]) -> Path:
    """Return the first file of the card's name in `folders`. Raises ModelMissing, saying where it looked."""
    for folder in folders:
        with suppress(OSError):  # a folder that is closed to us
            if (path := folder / card.file).is_file():
                return path
    looked = ", ".join(str(folder) for folder in folders)
    remedy = f"run: deskwatch model fetch {card.name}"
    if card.provenance.url is None:
        remedy = "its card names no address to fetch it from: copy the file there"
    raise ModelMissing(
        f"{card.file}: wanted the model of card {card.name}, got no such file in {looked}; {remedy}"
    )


def check_model(card: Card, path: Path, named: str = "") -> None:
    """Check that `path` is the card's file, whole and unchanged. Errors call it `named`, by default its path.

    Raises ModelMissing, ModelNotTflite, ModelTruncated or ModelHashWrong.
    """
    named = named or str(path)
    try:
        with path.open("rb") as file:
            head = file.read(8)
            size = os.fstat(file.fileno()).st_size
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelMissing(f"{named}: wanted the model of card {card.name}, got {error.strerror}") from error
    if head[4:] != TFLITE_MAGIC:
        raise ModelNotTflite(f"{named}: wanted a TFLite model ({TFLITE_MAGIC!r} at byte 4), got {head!r}")
    if size != card.size_bytes:
        raise ModelTruncated(f"{named}: wanted {card.size_bytes} bytes, got {size}")
    if sha256 != card.sha256:
        raise ModelHashWrong(f"{named}: wanted sha256 {card.sha256}, got {sha256}")
