"""The user name and password of a base URL, for its own origin alone."""

from __future__ import annotations

from collections.abc import Generator

import httpx

from polvo_adapters.core.calls import origin


class BaseURLAuth(httpx.BasicAuth):
    """Basic authentication of the requests to the scheme, host and port of a URL that have no credential yet.

    It is asked about each request when that is complete, so that it does not matter how the caller named the URL.

    Args:
        url: A URL with a user name, a password, or both.
    """

    def __init__(self, url: httpx.URL) -> None:
        super().__init__(url.username, url.password)
        self._origin = origin(str(url))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header, if the request goes there."""
        if origin(str(request.url)) == self._origin and "authorization" not in request.headers:
            yield from super().auth_flow(request)
        else:
            yield request
