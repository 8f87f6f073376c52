"""The commands that a page of docs/ tells people to type."""

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def sections(page: str) -> dict[str, str]:
    """Return a page's text by its headings."""
    parts = re.split(r"^## (.*)\n", (DOCS / page).read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str) -> list[list[str]]:
    """Return the indented blocks of a text, each as its lines."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("    ") and line.strip():
            if not inside:
                found.append([])
            found[-1].append(line.strip())
            inside = True
        else:
            inside = False
    return found


def commands(text: str) -> list[list[str]]:
    """Return the words of each command of a text, `sudo` left out. A settings file is none."""
    lines = [line for block in blocks(text) if not block[0].startswith("[") for line in block]
    words = [shlex.split(line, comments=True) for line in lines]
    return [word[1:] if word[0] == "sudo" else word for word in words]
