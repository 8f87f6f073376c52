"""What the watch costs, beside the bare interpreter and in memory. Begin with `measure.py`."""
