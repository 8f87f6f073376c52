"""What is asked of a running unit by whoever stands beside it: over a Unix socket, never over the network."""
