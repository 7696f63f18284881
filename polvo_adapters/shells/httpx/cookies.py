"""The cookies of a session, which looks for new ones where there are any."""

from __future__ import annotations

import httpx

from polvo_adapters.shells.httpx.header_fields import find_field


class SessionCookies(httpx.Cookies):
    """Cookies that take those of a response only where it has some: that costs more than many a policy."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Take the cookies of a response; see `httpx.Cookies.extract_cookies`."""
        if find_field(response.headers, b"set-cookie") is not None:
            super().extract_cookies(response)

    def __repr__(self) -> str:
        return f"<SessionCookies, {len(self)} of them>"
