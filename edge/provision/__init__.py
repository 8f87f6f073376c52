"""A unit's identity and its site's settings: made here, brought here once, and taken away again."""
