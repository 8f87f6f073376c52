"""The table of checks: causes before effects, so that the first line that fails names the cause."""

import importlib
from functools import partial
from typing import NoReturn

from edge.diagnosis.check import Check, Patient

AREAS = (
    "settings",
    "power",
    "memory",
    "disk",
    "clock",
    "identity",
    "wifi",
    "broker",
    "spool",
    "policy",
    "model",
    "service",  # it runs only with what stands above
    "worker",
    "camera",
    "sockets",
    "errors",
)
"""Modules beside this one, each with its `CHECKS`."""


def table() -> tuple[Check, ...]:
    """Return all checks in their order.

    An area that cannot even be imported, for want of a library, is a check that could not run.
    """
    return tuple(check for area in AREAS for check in checks_of(area))


def checks_of(area: str) -> tuple[Check, ...]:
    """Return the checks of one area."""
    try:
        found: tuple[Check, ...] = importlib.import_module(f"edge.diagnosis.{area}").CHECKS
    except Exception as error:  # noqa: BLE001  a library that is broken raises whatever it likes
        return (Check(f"{area}.import", partial(_raise, error), {}),)
    return found


def _raise(error: Exception, _patient: Patient) -> NoReturn:
    raise error
