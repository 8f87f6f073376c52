"""Marks that are planted, and looked for in whatever form somebody might carry them off."""

import base64
import itertools
import urllib.parse
from collections.abc import Iterator, Mapping

_LETTERS = "kqzvxjwpkfhmtyrngs"


class Canaries:
    """One mark for each place. None is a word; none contains another."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}
        self._next = itertools.combinations(_LETTERS, 4)

    def plant(self, place: str) -> str:
        """Return the mark of a place, of letters alone: a name, a label, a host may hold it."""
        if place not in self.planted:
            body = "".join(next(self._next))
            self.planted[place] = f"zq{body}{body[::-1]}vx"
        return self.planted[place]


def found(data: bytes, planted: Mapping[str, str]) -> list[str]:
    """Return the places whose marks are in it: plain, in another case, split, reversed, or encoded."""
    text = data.decode("utf-8", "replace").lower()
    letters = "".join(filter(str.isalpha, text))
    haystack = "\n".join([text, letters, urllib.parse.unquote(text), *_decoded(data)]).lower()
    return [place for place, mark in planted.items() if any(form in haystack for form in _forms(mark))]


def _forms(mark: str) -> Iterator[str]:
    for each in (mark, mark[::-1]):
        yield each
        yield each.encode().hex()
        yield each.encode("utf-16-le").hex()
        yield "".join(f"%{byte:02x}" for byte in each.encode())
        for start in range(3):  # base64 of a text in which the mark begins at any place
            encoded = base64.b64encode(b"\0" * start + each.encode())
            yield encoded[4 if start else 0 :].rstrip(b"=").decode().lower()[:-1]


def _decoded(data: bytes) -> Iterator[str]:
    """Give what a text of base64 or hex holds, where it is one as a whole word."""
    for word in data.replace(b'"', b" ").replace(b"=", b" ").split():
        for decode in (bytes.fromhex, _base32, base64.urlsafe_b64decode, base64.b85decode):
            try:
                yield decode(word.decode()).decode()
            except ValueError:
                continue


def _base32(word: str) -> bytes:
    return base64.b32decode(word.upper())
