"""deskwatch: the firmware of a smart webcam. docs/design.md is the map of the rooms."""

__version__ = "0.1.0"
