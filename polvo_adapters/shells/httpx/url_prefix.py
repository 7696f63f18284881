"""A prefix of URLs, in the form of a pattern of httpx or of a URL with a path."""

from __future__ import annotations

import httpx

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import strip_url

_DEFAULT_PORTS = {"http": 80, "https": 443}


class URLPrefix:
    """A prefix of URLs.

    Args:
        text: "https://api.example.com", "all://*.example.com", "https://", "https://api.example.com/v1/", or "" for
            all; as the keys of `httpx.Client(mounts=...)`, and with a path.

    Raises:
        ConfigurationError: It is none.
    """

    def __init__(self, text: str) -> None:
        scheme, separator, rest = text.partition("://")
        if text and not separator:
            raise ConfigurationError(
                f"the prefix {strip_url(text)!r} has no scheme; write it as 'https://{strip_url(text)}', or with "
                "'all://' for both http and https"
            )
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"the prefix {strip_url(text)!r} is no URL: {error}") from None
        self._scheme = "" if scheme.lower() == "all" else scheme.lower()
        self._host = "" if url.host == "*" else url.host
        self._port = url.port
        self._path = url.path if rest.partition("/")[1] else ""

    def matches(self, url: httpx.URL) -> bool:
        """Return whether a URL begins with it."""
        if self._scheme not in ("", url.scheme) or not self._matches_host(url.host):
            return False
        port = url.port or _DEFAULT_PORTS.get(url.scheme)
        return self._port in (None, port) and url.path.startswith(self._path)

    def _matches_host(self, host: str) -> bool:
        if not self._host.startswith("*"):
            return self._host in ("", host)
        domain = self._host.lstrip("*")
        if domain.startswith("."):
            return host.endswith(domain)  # but not the domain itself
        return host == domain or host.endswith(f".{domain}")
