"""Policies: what has to happen in which order, as generators of effects. Pure."""
