"""The project's own clip: a rendered desk on which each rule of the default policy has its turn."""

from pathlib import Path

from edge.errors import EdgeError
from edge.vision.model_file import checkout

CLIP = Path("models/desk-clip.mp4")
"""Its place in the checkout."""


class ClipMissing(EdgeError):
    """No clip: it lies in the checkout, not in an installed package. Give footage with --source."""


def desk_clip() -> Path:
    """Return the path of the clip. Raises ClipMissing."""
    path = checkout() / CLIP
    if not path.is_file():
        raise ClipMissing(f"{path}: wanted the project's own clip, got no such file")
    return path
