"""The topics of a whole tenant, as filters, and whose topic a message came on."""

from edge.uplink.topics import ROOT
from edge.uplink.wire import InvalidId, checked_id

ANY = "+"


def filter_of(tenant: str, unit: str, *levels: str) -> str:
    """Return the filter of one kind of topic; `ANY` for every unit. Raises InvalidId."""
    checked_id("tenant", tenant)
    if unit != ANY:
        checked_id("unit", unit)
    return "/".join((ROOT, tenant, unit, *levels))


def unit_of(tenant: str, topic: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the unit and the levels behind it; None for a topic that is not of the tenant's units."""
    root = f"{ROOT}/{tenant}/"
    unit, *levels = topic.removeprefix(root).split("/")
    try:
        checked_id("unit", unit)
    except InvalidId:
        return None
    return (unit, tuple(levels)) if topic.startswith(root) and levels else None
