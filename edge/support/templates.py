"""Which messages of the log are constants of our source, and may leave: nothing filled in or put together.

Asked of the compiled module itself: a text that stands in no constant of its code was made at run time.
"""

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType

from edge.support.bundle import TEMPLATE_CHARS

_OURS = "edge."


def is_ours(module: str, template: object) -> bool:
    """Tell whether a message, before anything is filled in, is a constant of the module that logged it."""
    if not (isinstance(template, str) and len(template) <= TEMPLATE_CHARS and module.startswith(_OURS)):
        return False
    return template in _constants(module)


@lru_cache(maxsize=64)
def _constants(module: str) -> frozenset[str]:
    """Return every text in the code of a module; none where that is not to be had."""
    try:
        spec = importlib.util.find_spec(module)
        get_code = getattr(None if spec is None else spec.loader, "get_code", None)
        code = None if get_code is None else get_code(module)
    except (ImportError, ValueError, OSError, SyntaxError):
        return frozenset()
    return frozenset(_texts(code)) if isinstance(code, CodeType) else frozenset()


def _texts(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _texts(constant)
