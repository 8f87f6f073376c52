"""Moving a damaged log aside for a new one, so that a power cut at any point leaves the one or the other."""

import datetime as dt
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edge.worklog.disk import sync_folder, write_whole
from edge.worklog.entries import Batch
from edge.worklog.pictures import FOLDER, sweep
from edge.worklog.segments import name_of, note_head

MAX_KEPT = 3


def finish(folder: Path) -> None:
    """Finish a move that was interrupted between its renames. Raises OSError."""
    new = _new(folder)
    if not new.is_dir():
        return
    if folder.exists():
        shutil.rmtree(new)
    else:
        new.rename(folder)


def replace(folder: Path, began: Batch) -> None:
    """Put a log of one batch in the place of the one that is there, if one is. Raises OSError.

    The pictures stay: what is sent from now on may name them, and they expire.
    """
    new, damaged = _new(folder), None
    with suppress(FileNotFoundError):
        shutil.rmtree(new)
    new.mkdir(mode=0o700, parents=True)
    write_whole(new / name_of(began.first_seq), began.data)
    note_head(new, began.head)
    if folder.exists():
        kept = sorted(kept_of(folder))
        for _, old in kept[: max(0, len(kept) - MAX_KEPT + 1)]:
            sweep(old / FOLDER, None)
            shutil.rmtree(old)
        damaged = folder.with_name(f"{folder.name}.damaged-{kept[-1][0] + 1 if kept else 1}")
        folder.rename(damaged)
    new.rename(folder)
    if damaged is not None:
        with suppress(FileNotFoundError):
            (damaged / FOLDER).rename(folder / FOLDER)
        sync_folder(damaged) if damaged.is_dir() else None
    sync_folder(folder)
    sync_folder(folder.parent)


def expire(folder: Path, now_at: dt.datetime) -> int:
    """Wipe expired pictures that a power cut left with a log that was moved aside; return how many."""
    return sum(sweep(old / FOLDER, now_at) for _, old in kept_of(folder))


def kept_of(folder: Path) -> Iterator[tuple[int, Path]]:
    """Give the logs that were moved aside, each with its number, in no order. Raises OSError."""
    name = re.compile(re.escape(folder.name) + r"\.damaged-([0-9]{1,9})")
    for each in os.scandir(folder.parent):
        if (found := name.fullmatch(each.name)) and each.is_dir(follow_symlinks=False):
            yield int(found[1]), folder.parent / each.name


def _new(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.new")
