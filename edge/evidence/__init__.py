"""The redacted picture that goes with an event."""
