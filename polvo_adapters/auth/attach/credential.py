"""What an auth object puts on a request, and takes off again before a redirect leads it elsewhere.

Theory of operation. `requests` drops `Authorization` where a redirect leads to another host, and no other header. So
every auth object here looks at each answer in a response hook, which runs before the redirect is followed, and takes
off what it has put on unless the next URL has the same origin (RFC 6454). As `requests` does, it lets a credential go
from http to https of the same host, both on their own ports. What the next URL is has to be found out step by step as
`requests` does (`////other.test` is a path to some, and to `requests` a host); and two parsers have to agree on its
origin, the one that compares and the one that connects.

**A Credential** is the value of a header, and knows whose it is. Tokens change; the quota, the circuit and the answers
that belong to their owner do not, and are found under that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlparse

from requests.auth import AuthBase
from requests.utils import requote_uri
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError

if TYPE_CHECKING:
    from requests import PreparedRequest, Response


_PORT = re.compile(r":[0-9]+\Z")


class OwnedHeaderValue(str):
    """The value of a header that is a secret, and the name of its owner.

    It is not pickled: in its place is a text that says so.

    Attributes:
        owner: A name that stays when the value changes, and tells nothing of it; or an empty string where the value
            does not change.
    """

    __slots__ = ("owner",)

    owner: str

    @classmethod
    def of(cls, owner: str, value: str) -> OwnedHeaderValue:
        """Return the value as a credential of that owner."""
        made = cls(value)
        made.owner = owner
        return made

    def __repr__(self) -> str:
        return "'(a credential)'"  # for headers that are printed, and for tracebacks that show locals

    def __copy__(self) -> OwnedHeaderValue:
        return self

    def __deepcopy__(self, memo: object) -> OwnedHeaderValue:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return str, ("(a credential that was not pickled)",)


def same_origin(before: str, after: str) -> bool:
    """Tell whether a credential for one URL may go to another: the same origin, or the same host by https.

    Args:
        before: The URL that it was for.
        after: The other one.
    """
    old, new = origin(before), origin(after)
    if old.startswith("http://") and new == "https://" + old[7:] and not _PORT.search(old):
        old = new
    try:
        connects = parse_url(after)
    except LocationParseError:
        return False
    return old == new == origin(f"{connects.scheme}://{connects.netloc}")


def take_off(response: Response, headers: Iterable[str]) -> bool:
    """Take headers off the request of a redirect to another origin, from which `requests` makes the next one.

    Args:
        response: An answer, before redirects are followed.
        headers: Names of the headers.

    Returns:
        Whether it is such a redirect.
    """
    request = response.request
    if not response.is_redirect or same_origin(request.url or "", _target(response)):
        return False
    for name in headers:
        request.headers.pop(name, None)
    return True


def _target(response: Response) -> str:
    """Return the next URL, as `requests.Session.resolve_redirects` makes it."""
    location = response.headers["location"].encode("latin1", "replace").decode("utf-8", "replace")
    if location.startswith("//"):
        location = f"{urlparse(response.url).scheme}:{location}"
    try:
        parsed = urlparse(location)
        target = requote_uri(parsed.geturl())
        return target if parsed.netloc else urljoin(response.url, target)
    except ValueError:
        return ""  # nor can `requests` follow it


class HeaderAuth(AuthBase):
    """Send one header with every request, to the origin that it was meant for and to no other.

    Args:
        header: Name of the header.
        value: Its value.

    Raises:
        ConfigurationError: The value cannot be sent in a header.
    """

    def __init__(self, header: str, value: str) -> None:
        self._header = header
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ConfigurationError(
                f"{type(self).__name__}: the credential cannot be sent in a header; look for a line break, a space at "
                "its end, or a character that is not ASCII"
            )
        self._value: OwnedHeaderValue | None = OwnedHeaderValue.of("", value)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the header on a request."""
        request.headers[self._header] = self._known()
        request.register_hook("response", self._answered)
        return request

    def _known(self) -> OwnedHeaderValue:
        if self._value is None:
            raise ConfigurationError(
                f"{type(self).__name__}: the credential stayed behind when this was pickled; make a new one where it "
                "is used"
            )
        return self._value

    def _answered(self, response: Response, **_: object) -> None:
        if response.is_redirect:
            take_off(response, (self._header,))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._header}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), self._header, self._value))

    def __copy__(self) -> HeaderAuth:
        return self  # it never changes; and what is not pickled need not be missing from a copied session

    def __deepcopy__(self, memo: object) -> HeaderAuth:
        return self

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_value": None}
