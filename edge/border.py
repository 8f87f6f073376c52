"""Documents that come from outside: read within a bound; of an error, the path of the very field.

msgspec ends its messages with the path of the value; a `__post_init__` of ours begins with `field: `.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import inspect

_SOURCE = re.compile(r"\.([^.\[]+)|\[([0-9]+)\]")
_REGEX = re.compile(r"Expected `str` matching regex '.*'")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a set of keys",
    "null": "nothing",
}
"""What msgspec's names of types are called in a message."""


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return what is in a regular file: a pipe would be waited for, and a device may have no end.

    Raises OSError; its errno is EFBIG where there are more than `max_bytes`.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "neither a file nor a folder", str(path))
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"more than {max_bytes} bytes", str(path))
    return data


def locate(message: str, wanted: object, document: object) -> tuple[str, str]:
    """Return the path and the problem of a msgspec ValidationError.

    `wanted` is the type that was decoded, `document` the same document as plain dicts and lists.
    """
    problem, _, path = message.rpartition(" - at ")
    problem, path = (problem, path.strip("`")) if problem else (message, "$")
    if ours := re.match(r"([a-z_]+(?:\[[0-9]+\])?): ", problem):
        return f"{path}.{ours[1]}", problem.removeprefix(ours[0])
    kind, got = _follow(inspect.type_info(wanted), document, path)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        known = ", ".join(sorted(_keys(kind, got)))
        return f"{path}.{unknown[1]}", f"wanted one of the keys {known}; got {unknown[1]!r}"
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        return path, f"wanted the key {missing[1]!r}, got {_shown(got)} without it"
    if problem.startswith("Invalid"):
        values = ", ".join(sorted(_values(kind)))
        return path, f"wanted one of {values}; got {_shown(got)}"
    if "got" not in problem:
        words = _description(kind)
        if words and _REGEX.fullmatch(problem):
            problem = f"wanted {words}"
        problem = f"{_plain(problem)}, got {_shown(got)}"
        return path, problem.replace("Expected", "wanted", 1)
    return path, _plain(problem).replace("Expected", "wanted", 1)


def _plain(problem: str) -> str:
    """Return a message of msgspec's without its names of types."""
    return re.sub(
        r"`((?:int|float|str|bool|array|object|null)(?: \| \w+)*)`",
        lambda found: " or ".join(_WORDS.get(name, name) for name in found[1].split(" | ")),
        problem,
    )


def _follow(kind: inspect.Type, document: object, path: str) -> tuple[inspect.Type | None, object]:
    """Return the type wanted at `path` and the value there; of a tag (`kind`, `mode`), its union."""
    at: inspect.Type | None = kind
    for key, index in _SOURCE.findall(path):
        at = _bare(at)
        inner = next((t for t in _structs(at, document) for f in t.fields if f.encode_name == key), None)
        if index:
            at = at.item_type if isinstance(at, inspect.VarTupleType | inspect.ListType) else None
            document = document[int(index)] if isinstance(document, list) else None
        else:
            if inner is not None:
                at = next(f.type for f in inner.fields if f.encode_name == key)
            document = document.get(key) if isinstance(document, dict) else None
    return at, document


def _bare(kind: inspect.Type | None) -> inspect.Type | None:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _structs(kind: inspect.Type | None, document: object) -> Iterator[inspect.StructType]:
    """Give the struct that a value is meant to be: of a union, the one whose tag it carries."""
    kind = _bare(kind)
    for one in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
        one = _bare(one)  # noqa: PLW2901
        if isinstance(one, inspect.StructType):
            tag = document.get(one.tag_field) if isinstance(document, dict) and one.tag_field else one.tag
            if tag == one.tag:
                yield one


def _keys(kind: inspect.Type | None, document: object) -> set[str]:
    structs = list(_structs(kind, document))
    tags = {one.tag_field for one in structs if one.tag_field}
    return {field.encode_name for one in structs for field in one.fields} | tags


def _values(kind: inspect.Type | None) -> set[str]:
    kind = _bare(kind)
    if isinstance(kind, inspect.LiteralType):
        return {str(value) for value in kind.values}
    if isinstance(kind, inspect.UnionType):
        return {str(one.tag) for one in map(_bare, kind.types) if isinstance(one, inspect.StructType)}
    return set()


def _description(kind: inspect.Type | None) -> str:
    """Return what `Meta(description=...)` says of the type."""
    if isinstance(kind, inspect.Metadata) and kind.extra_json_schema:
        return str(kind.extra_json_schema.get("description", ""))
    if isinstance(kind, inspect.UnionType):  # it or nothing
        return next(filter(None, map(_description, kind.types)), "")
    return ""


def _shown(value: object) -> str:
    return repr(value)[:80]
