"""The lifecycle of tokens and secrets: fetched once for all calls that need them, and refreshed before they expire."""
