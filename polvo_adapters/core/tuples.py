"""The way to make a NamedTuple in code that runs in every call."""

from __future__ import annotations

new_tuple = tuple.__new__
"""Makes a NamedTuple of a sequence of all its fields, in half to a quarter of the time that its own class takes."""
