"""Drivers: they perform the effects of a flow, on a thread, in a task, or in virtual time."""
