"""Values of headers that are secrets, and their removal before a redirect leads to another origin.

Theory of operation. `requests` drops `Authorization` when a redirect leads to another host, and no other header. So
every auth object here examines each response in a response hook, which runs before the redirect is followed, and
removes its headers unless the next URL has the same origin (RFC 6454). Like `requests`, it lets a credential go from
http to https of the same host, both on their default ports. The next URL is computed step by step as `requests` does
(`////other.test` is a path to some parsers, and a host to `requests`), and two parsers have to agree on its origin:
the one that compares and the one that connects.

**The owner** of a header value stays the same when the value changes. Tokens change; the quota, the circuit and the
stored responses that belong to their owner do not, and are found under its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlparse

from requests.auth import AuthBase
from requests.utils import requote_uri
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from polvo_adapters.core.calls import origin
from polvo_adapters.core.http import HEADER_NAME
from polvo_adapters.core.setting_kinds import show_value
from polvo_adapters.core.state_keys import without_parameters
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import HiddenBytes
from polvo_adapters.runtime.copies import SharedByCopies

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from polvo_adapters.auth.attach.httpx_fixed import HTTPXFixedAuth

_PORT = re.compile(r":[0-9]+\Z")


class OwnedHeaderValue(SharedByCopies, str):
    """The secret value of a header, and the name of its owner.

    It is not pickled: the pickle contains a text that says so.

    Attributes:
        owner: Name that stays when the value changes, and reveals nothing of it; an empty string if the value never
            changes.
    """

    __slots__ = ("owner",)

    owner: str

    @classmethod
    def of(cls, owner: str, value: str) -> OwnedHeaderValue:
        """Return a value that belongs to an owner."""
        owned = cls(value)
        owned.owner = owner
        return owned

    def __repr__(self) -> str:
        return "'(a credential)'"  # for headers that are printed, and for tracebacks that show locals

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> HiddenBytes:
        """Return the value as bytes that do not show either; a request of httpx keeps them, and pickles."""
        return HiddenBytes(super().encode(encoding, errors))

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return str, ("(a credential that was not pickled)",)


def require_prepared(auth: AuthBase, request: object) -> None:
    """Check that a request is one of `requests`: httpx takes any callable for an auth object.

    Args:
        auth: The auth object that the request was given to.
        request: The request.

    Raises:
        TypeError: It is not.
    """
    if not hasattr(request, "register_hook"):
        kind, library = type(auth).__name__, type(request).__module__.partition(".")[0]
        raise TypeError(
            f"{kind} is an auth object for requests, and was given to {library}; "
            f"give httpx what the method httpx() of the {kind} returns"
        )


class CredentialURL(SharedByCopies, str):
    """The URL of a request with a credential in its query.

    It is the whole URL to code that reads, compares or sends it. Formatted into a message, such as that of
    `raise_for_status`, printed by `repr` or pickled, it is the URL without the parameter of the credential.

    Attributes:
        parameter: Name of the parameter.
    """

    __slots__ = ("parameter",)

    parameter: str

    @classmethod
    def of(cls, parameter: str, url: str) -> CredentialURL:
        """Return a URL whose query has a parameter with a credential."""
        marked = cls(url)
        marked.parameter = parameter
        return marked

    def _shown(self) -> str:
        return without_parameters(str(self), (self.parameter,))

    def __repr__(self) -> str:
        return repr(self._shown())

    def __format__(self, specification: str) -> str:
        return format(self._shown(), specification)

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return str, (self._shown(),)


def digest_owner(description: str) -> str:
    """Return the name of an owner, which reveals nothing of its description."""
    return blake2b(description.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def can_be_header(value: str) -> bool:
    """Return whether a text can be sent as the value of a header."""
    return value.isascii() and value.isprintable() and value == value.strip()


def validate_place(owner: str, header: str, scheme: str | None) -> None:
    """Raise ConfigurationError for a header, or a text before the credential in it, that no request can have.

    Args:
        owner: Class of the auth object, for the message.
        header: Name of the header.
        scheme: The text, or None.
    """
    if not isinstance(header, str) or not HEADER_NAME.fullmatch(header):
        raise ConfigurationError(f"{owner}(header={show_value(header)}): header must be the name of a header")
    if scheme is not None and (not isinstance(scheme, str) or not can_be_header(scheme)):
        raise ConfigurationError(
            f"{owner}(scheme={show_value(scheme)}): scheme must be a text that can begin the value of a header"
        )


def require_no_rules(owner: str, refused: object) -> None:
    """Raise ConfigurationError for rules about refusals of a credential that never changes."""
    if refused is not None:
        raise ConfigurationError(f"{owner}(refused=...): a text that is refused cannot be replaced; give a Secret")


def same_origin(before: str, after: str) -> bool:
    """Return whether a credential for one URL may go to another: to the same origin, or to the same host by https.

    Args:
        before: The URL that the credential was for.
        after: The other URL.
    """
    old, new = origin(before), origin(after)
    if old.startswith("http://") and new == "https://" + old[7:] and not _PORT.search(old):
        old = new
    try:
        connects = parse_url(after)
    except LocationParseError:
        return False
    return old == new == origin(f"{connects.scheme}://{connects.netloc}")


def take_off(response: Response, headers: Iterable[str]) -> None:
    """Remove headers from the request of a redirect to another origin, from which `requests` makes the next request.

    Args:
        response: A response, before redirects are followed.
        headers: Names of the headers.
    """
    request = response.request
    if response.is_redirect and not same_origin(request.url or "", _redirect_target(response)):
        for name in headers:
            request.headers.pop(name, None)


def _redirect_target(response: Response) -> str:
    """Return the next URL, computed like `requests.Session.resolve_redirects`."""
    location = response.headers["location"].encode("latin1", "replace").decode("utf-8", "replace")
    if location.startswith("//"):
        location = f"{urlparse(response.url).scheme}:{location}"
    try:
        parsed = urlparse(location)
        target = requote_uri(parsed.geturl())
        return target if parsed.netloc else urljoin(response.url, target)
    except ValueError:
        return ""  # `requests` cannot follow it either


class HeaderAuth(SharedByCopies, AuthBase):
    """Authorization by one header that never changes, sent to the origin of the request and to no other.

    Args:
        header: Name of the header.
        value: Value of the header.

    Raises:
        ConfigurationError: The value cannot be sent in a header.
    """

    def __init__(self, header: str, value: str) -> None:
        validate_place(type(self).__name__, header, None)
        self._header = header
        if not can_be_header(value):
            raise ConfigurationError(
                f"{type(self).__name__}: the credential cannot be sent in a header; look for a line break, a space at "
                "its end, or a character that is not ASCII"
            )
        self._value: OwnedHeaderValue | None = OwnedHeaderValue.of("", value)

    @property
    def credential_places(self) -> tuple[str, ...]:
        """Where the credential is; see `polvo_adapters.shells.credential_owners`."""
        return (self._header.lower(),)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the header on a request."""
        require_prepared(self, request)
        request.headers[self._header] = self._require_value()
        request.register_hook("response", self._protect_redirect)
        return request

    def place(self) -> tuple[str, str, bool]:
        """Return the name of the header, its value, and that it is no query parameter; for httpx.

        Raises:
            ConfigurationError: The value stayed behind when this was pickled.
        """
        return self._header, self._require_value(), False

    def httpx(self) -> HTTPXFixedAuth:
        """Return the auth object for `httpx` that sends the same credential: `httpx.AsyncClient(auth=auth.httpx())`."""
        from polvo_adapters.auth.attach.httpx_fixed import HTTPXFixedAuth

        return HTTPXFixedAuth(self)

    def _require_value(self) -> OwnedHeaderValue:
        if self._value is None:
            raise ConfigurationError(
                f"{type(self).__name__}: the credential stayed behind when this was pickled; make a new one where it "
                "is used"
            )
        return self._value

    def _protect_redirect(self, response: Response, **_: object) -> None:
        take_off(response, (self._header,))

    _answered = _protect_redirect  # its name in the pickles of earlier versions

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._header}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), self._header, self._value))

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_value": None}
