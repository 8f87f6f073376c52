"""The docstrings of fields and of enum members, which Python does not keep: read from the source."""

import ast
import enum
import functools
import importlib.util
import inspect
import itertools
from pathlib import Path

import msgspec


def fields(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstring of each field that has one, by its name on the wire; inherited ones too."""
    found: dict[str, str] = {}
    for kind in reversed(struct.__mro__):
        if issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct:
            found |= _docstrings(kind)
    wire = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    return {wire[name]: text for name, text in found.items() if name in wire}


def members(kind: type[enum.Enum]) -> dict[str, str]:
    """Return the docstring of each member, by its value; empty where it has none."""
    found = _docstrings(kind)
    return {str(member.value): found.get(member.name, "") for member in kind}


def flowing(docstring: str) -> str:
    """Return a docstring with each of its paragraphs in one line."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


@functools.cache
def _docstrings(kind: type) -> dict[str, str]:
    """Return what stands below each name in the body of a class."""
    body = _class(kind.__module__, kind.__name__).body
    found: dict[str, str] = {}
    for line, below in itertools.pairwise(body):
        match line, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = flowing(text)
            case _:
                pass
    return found


@functools.cache
def _module(name: str) -> ast.Module:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise LookupError(f"{name}: wanted a module with its source, got none")
    return ast.parse(Path(spec.origin).read_text("utf-8"))


def _class(module: str, name: str) -> ast.ClassDef:
    for node in _module(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    raise LookupError(f"{module}: wanted a class {name} at its top level, got none")
