"""Where the control socket is: a name in a folder, however long the folder's path."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_NAME = "control.sock"


@contextmanager
def short_path(folder: Path, name: str = SOCKET_NAME) -> Iterator[Path]:
    """Give a path to a name in `folder`, for the length of the `with`. Raises OSError.

    A socket's address has room for 108 bytes (man 7 unix), a path for 4096: so it goes by the open folder.
    """
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)
