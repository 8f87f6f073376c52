"""From the spool to the broker: messages, topics, the durable queue, the link."""
