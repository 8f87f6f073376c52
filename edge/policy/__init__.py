"""What is forbidden, and when we look: the policy document, the schedule, the judge."""
