"""What policies, drivers and stores agree on: effects, calls, outcomes, machines. Pure."""
