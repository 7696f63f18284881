"""Secrets in environment variables."""

from __future__ import annotations

import os

from polvo_adapters.secrets.provider import Fetched, extract_field
from polvo_adapters.secrets.providers.base import BaseProvider

_LIFETIME = 10.0  # seconds


class Environment(BaseProvider):
    """The environment of this process: `env://NAME`. An empty variable counts as missing."""

    scheme = "env"
    local = True

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a variable, or a field of the JSON in it; see `Provider.fetch`."""
        value = os.environ.get(name)
        if not value:
            raise self.fetch_error(name, "not found", "set the environment variable")
        return Fetched(extract_field(self.scheme, name, value, field), _LIFETIME)
