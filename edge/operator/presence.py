"""Which of a unit's states is the latest, whatever order a broker delivers them in."""

from edge.uplink.messages import State


def later(held: State | None, came: State) -> bool:
    """Tell whether `came` is not older than `held`.

    A unit's late will, of a connection before the one it now has, would else make it look offline. What says
    online comes from the unit itself, in order: one that was set up anew counts its sessions from 1 again.
    """
    if held is None or came.online:
        return True
    return (came.session, came.connection) >= (held.session, held.connection)
