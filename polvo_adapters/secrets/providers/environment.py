"""Secrets in environment variables."""

from __future__ import annotations

import os

from polvo_adapters.secrets.provider import Fetched, extract_field
from polvo_adapters.secrets.providers.base import BaseProvider

_LOOK_AGAIN = 10.0


class Environment(BaseProvider):
    """Ask the environment of this process: `env://NAME`. A variable that is empty is one that is not there."""

    scheme = "env"
    local = True

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a variable, or a field of the JSON in it; see `Provider.fetch`."""
        value = os.environ.get(name)
        if not value:
            raise self.failure(name, "not found", "set the environment variable")
        return Fetched(extract_field(self.scheme, name, value, field), _LOOK_AGAIN)
