"""No picture outlives its use in this process's memory, freed memory included.

A frame passes through many buffers that are not ours: OpenCV's, FFmpeg's and libpng's. `free` leaves their
contents where they are. So glibc is told once to overwrite whatever is freed (M_PERTURB), and after a camera
has closed to hand what is free back to the kernel. With another C library only our own buffers are wiped.
"""

import ctypes
import functools
import logging

from edge.capture.frame import Pixels

log = logging.getLogger(__name__)

_M_PERTURB = -6
"""glibc's malloc.h. Freed memory is filled with this byte, memory handed out with its complement."""
_FILL = 0x5A


@functools.cache
def overwrite_what_is_freed() -> bool:
    """Have the C library overwrite all memory that is freed from now on. Returns False where it cannot.

    Every camera calls it before it opens. Chunks of at most 1,032 bytes are kept by glibc for the next use
    as they are, up to seven of a size and thread: no picture, but at most a row of a narrow one.
    """
    glibc = _glibc()
    done = glibc is not None and bool(glibc.mallopt(_M_PERTURB, _FILL))
    if not done:
        log.info("memory that is freed is not overwritten: the C library is not glibc")
    return done


def release_memory() -> None:
    """Hand the memory that is free back to the kernel, which gives it to nobody without clearing it.

    Called when the camera has closed and what was made of its frames has been let go.
    """
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


def blacken(*pictures: Pixels | None) -> None:
    """Overwrite pictures of our own; a None is passed over."""
    for picture in pictures:
        if picture is not None:
            picture.fill(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library, if it is the GNU one: no other has `gnu_get_libc_version`."""
    try:
        library = ctypes.CDLL(None)
    except OSError:
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
