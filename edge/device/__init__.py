"""The box itself: health and diagnosis."""
