"""URLs as `requests` reads them."""

from __future__ import annotations

import requests
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url


def parse_as_requests(url: str) -> Url:
    """Return the parts of a URL as `requests` sends it, but without dot segments.

    `requests` removes plain ones, decodes "%2e", and leaves the dot segments that this makes to the server.

    Raises:
        requests.RequestException: The URL cannot be read.
    """
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    try:
        return parse_url(prepared.url or "")
    except LocationParseError:  # a scheme that requests leaves alone
        raise requests.exceptions.InvalidURL("the host of the URL cannot be read; nothing was sent") from None
