"""Tokens and secrets live the same life: fetched once for all who want them, and refreshed before they expire."""
