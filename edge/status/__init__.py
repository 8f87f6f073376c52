"""What the unit does and why, on one screen: `deskwatch status`."""
