"""Tokens at rest and in use: their storage, their encryption, and their refresh."""
