"""URLs as httpx reads them."""

from __future__ import annotations

import httpx
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url


def parse_as_httpx(url: str) -> Url:
    """Return the parts of a URL as httpx sends it, which removes plain dot segments.

    Raises:
        httpx.InvalidURL: The URL cannot be read.
    """
    try:
        return parse_url(str(httpx.URL(url)))  # what httpx has written has one reading only
    except LocationParseError:
        raise httpx.InvalidURL("the host of the URL cannot be read; nothing was sent") from None
