r"""A URL as `requests` reads it.

Two readers of one URL may find two hosts in it: that of "http://a\@b/" is `a` to urllib3, and `b` to `urllib.parse`.
What decides who may get a credential has to read it as that one does which opens the connection.
"""

from __future__ import annotations

import requests
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from polvo_adapters.flow import origin


def as_sent(url: str) -> Url:
    """Return the parts of a URL as `requests` comes to send it, but without dot segments.

    `requests` takes out plain ones, decodes "%2e", and leaves it to the server to take out what that makes.

    Raises:
        requests.RequestException: It is no URL.
    """
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    try:
        return parse_url(prepared.url or "")
    except LocationParseError:  # of a scheme that requests leaves alone
        raise requests.exceptions.InvalidURL("the host of the URL cannot be read; nothing was sent") from None


def origin_as_sent(url: str) -> str:
    """Return the origin that a request to a URL goes to, where other readings of the URL differ."""
    return origin(as_sent(url).url)
