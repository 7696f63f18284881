"""When a credential is asked for again before an attempt, and what says that there is none."""

from __future__ import annotations

from polvo_adapters.errors import ConfigurationError, SecretError, TokenRefreshError

LONG_WAIT = 1.0
"""Seconds in a queue after which a credential may have expired."""

NO_CREDENTIAL = (TokenRefreshError, SecretError, ConfigurationError)
"""What is raised where there is no other credential, so that a request is not repeated."""
