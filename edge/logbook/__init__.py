"""The worker's log as the worker reads it: lines in the terminal, or one page for a browser."""
