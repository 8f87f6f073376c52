"""Reads files of a clone: at a commit where it has its history, bare or not, else as they lie there."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from deskmodel.data import DataError


class Files(Protocol):
    """Files below one folder of a clone, by their paths from that folder."""

    def names(self) -> list[str]:
        """Return all paths, in order."""

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises DataError where there is none."""


@contextmanager
def opened(clone: Path, commit: str, folder: str) -> Iterator[Files]:
    """Yield the files below `folder`. Raises DataError where the clone has no such commit or folder."""
    git_dir = _git_dir(clone)
    if git_dir is None:
        yield _InFolder(clone / folder)
        return
    found = _listed(git_dir, commit, folder)
    reader = subprocess.Popen(  # noqa: S603  a fixed command line
        _git(git_dir, "cat-file", "--batch"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(),
    )
    with reader:  # which closes the pipes, and git ends with them
        yield _AtCommit(f"{clone}, {commit[:12]}:{folder}", found, reader)


class _InFolder:
    def __init__(self, root: Path) -> None:
        self._root = root
        if not root.is_dir():
            raise DataError(f"{root}: wanted a folder of images and labels, got none")

    def names(self) -> list[str]:
        paths = (path for path in self._root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self._root).as_posix() for path in paths)

    def read(self, name: str) -> bytes:
        try:
            return (self._root / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self._root / name}: wanted a file, got {error}") from error


class _AtCommit:
    def __init__(self, place: str, found: dict[str, str], reader: subprocess.Popen[bytes]) -> None:
        self._place, self._found, self._reader = place, found, reader

    def names(self) -> list[str]:
        return sorted(self._found)

    def read(self, name: str) -> bytes:
        if name not in self._found:
            raise DataError(f"{self._place}/{name}: wanted a file, got none")
        source, answer = self._reader.stdin, self._reader.stdout
        assert source is not None
        assert answer is not None
        source.write(f"{self._found[name]}\n".encode())
        source.flush()
        heading = answer.readline().decode().split()  # object id, type, size in bytes; or object id, missing
        if len(heading) != 3:
            raise DataError(f"{self._place}/{name}: wanted its content, got none: the clone is not complete")
        content = answer.read(int(heading[2]))
        answer.read(1)
        return content


def _git_dir(clone: Path) -> Path | None:
    if (clone / ".git").exists():
        return clone / ".git"
    return clone if (clone / "HEAD").is_file() and (clone / "objects").is_dir() else None


def _listed(git_dir: Path, commit: str, folder: str) -> dict[str, str]:
    """Return object ids by the paths below `folder`."""
    listed = subprocess.run(  # noqa: S603  a fixed command line
        _git(git_dir, "ls-tree", "-r", "-z", "--full-tree", f"{commit}:{folder}"),
        capture_output=True,
        check=False,
        env=_environment(),
    )
    if listed.returncode:
        said = listed.stderr.decode(errors="replace").strip()
        raise DataError(
            f"{git_dir}: wanted {folder} of commit {commit}, got: {said}. "
            f"A clone of the newest commit alone may not have it: git fetch --depth 1 origin {commit}"
        )
    entries = (entry.split("\t", 1) for entry in listed.stdout.decode().split("\0") if entry)
    return {path: about.split()[2] for about, path in entries}


def _git(git_dir: Path, *arguments: str) -> list[str]:
    program = shutil.which("git")
    if program is None:
        raise DataError(f"{git_dir}: wanted git to read it, got none on the path")
    return [program, f"--git-dir={git_dir}", *arguments]


def _environment() -> dict[str, str]:
    # A partial clone would ask the network for what it lacks, one file at a time.
    return {**os.environ, "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
