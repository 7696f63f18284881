"""Tokens at rest and in use: where they are kept, how they are encrypted, who fetches the next one."""
