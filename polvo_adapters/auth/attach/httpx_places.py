"""Where a request of `httpx` carries a credential: in a header, or in a parameter of its query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx

from polvo_adapters.core.identity import KEY_HEADERS
from polvo_adapters.core.state_keys import without_parameters
from polvo_adapters.redaction import hide
from polvo_adapters.runtime.copies import SharedByCopies
from polvo_adapters.shells.credential_owners import add_owner
from polvo_adapters.shells.httpx.rerouting import note_origin
from polvo_adapters.shells.request_marks import marks_of


class CredentialHTTPXURL(SharedByCopies, httpx.URL):
    """The URL of a request with a credential in its query, which messages and the repr show without it.

    It is the whole URL to code that reads, compares or sends it. A pickle has it without the credential.
    """

    _parameter = ""

    @classmethod
    def of(cls, parameter: str, url: str) -> CredentialHTTPXURL:
        """Return a URL whose query has a parameter with a credential."""
        marked = cls(url)
        marked._parameter = parameter
        return marked

    def _shown(self) -> str:
        return without_parameters(str(self), (self._parameter,))

    def __repr__(self) -> str:
        return f"URL({self._shown()!r})"

    def __format__(self, specification: str) -> str:
        return format(self._shown(), specification)

    def __reduce_ex__(self, protocol: object) -> tuple[type[httpx.URL], tuple[str]]:
        return httpx.URL, (self._shown(),)


def put_header(request: httpx.Request, name: str, value: str) -> None:
    """Put a credential into a header, which goes to no other origin where a transport of this package sends it."""
    if name.lower() != "authorization":  # which httpx itself takes off
        note_origin(request, (name,))
    request.headers[name] = value
    owner = getattr(value, "owner", "")
    if owner or name.lower() not in KEY_HEADERS:  # httpx keeps bytes, which do not say that they are a credential
        add_owner(request, name.lower(), owner or hide(str(value)))


def put_parameter(request: httpx.Request, name: str, value: str) -> None:
    """Put a credential into a parameter of the query, in the place of an earlier one."""
    url, mark = request.url, f"{quote_plus(name)}="
    others = [pair for pair in url.query.decode("ascii").split("&") if pair and not pair.startswith(mark)]
    query = "&".join([*others, urlencode({name: str(value)})])
    request.url = CredentialHTTPXURL.of(name, str(url.copy_with(query=query.encode("ascii"))))
    add_owner(request, f"?{name}", getattr(value, "owner", ""))


def note_places(request: httpx.Request, places: Sequence[str]) -> None:
    """Note where a signature is, as places of `polvo_adapters.shells.credential_owners`."""
    note_origin(request, (place for place in places if not place.startswith("?") and place != "authorization"))
    marks_of(request).places = tuple(places)


def has_parameter(request: httpx.Request, name: str, value: Any) -> bool:
    """Return whether the query of a request has a parameter with this value."""
    return urlencode({name: str(value)}) in request.url.query.decode("ascii").split("&")
