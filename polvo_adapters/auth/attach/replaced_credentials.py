"""The credentials that replaced refused ones, so that a refusal which is not about the credential is believed once.

Theory of operation. An API that refuses a token may mean another thing: that this user may not do that. The token is
then replaced, and the new one is refused as well: from then on that is the answer of the API.

    a token that replaced a refused one is refused   so it is
    -----------------------------------------------  ---------------------------------------------------------
    before any request with it has succeeded         not replaced
    where it was refused before                      not replaced
    at another URL, after a success                  replaced: it has been revoked since

A URL counts without its query, and with the method of the request. What is known of a token is forgotten after an hour,
because a server may issue a token that is dead from the beginning.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from polvo_adapters.auth.attach.credential import digest_owner
from polvo_adapters.auth.capacity import make_room

_MOST = 1000  # credentials
_MOST_PLACES = 200
_SECONDS = 3600.0


class _Record:
    """What is known of one credential."""

    __slots__ = ("is_proved", "places", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.is_proved = False
        self.places: dict[str, None] = {}


def describe_place(method: str | None, url: str | None) -> str:
    """Return where a credential is sent to: the method, and the URL without its query."""
    return f"{method} {urlsplit(url or '')._replace(query='', fragment='').geturl()}"


class ReplacedCredentials:
    """What is known of credentials that replaced refused ones, by a digest of the text that is sent.

    It has no lock: what threads do at the same time costs a replacement at most.
    """

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def __bool__(self) -> bool:
        return bool(self._records)

    def add(self, text: str, now: float) -> None:
        """Note that a credential has replaced a refused one, or is the same one that the server has issued again."""
        name = digest_owner(text)
        self._records.pop(name, None)
        make_room(self._records, _MOST)[name] = _Record(now + _SECONDS)

    def may_be_replaced(self, text: str, place: str, now: float) -> bool:
        """Return whether a refused credential is to be replaced."""
        record = self._records.get(digest_owner(text))
        if record is None or now >= record.until:
            return True
        return record.is_proved and place not in record.places

    def note_refusal(self, text: str, place: str) -> None:
        """Note where a credential was refused."""
        record = self._records.get(digest_owner(text))
        if record is not None:
            make_room(record.places, _MOST_PLACES)[place] = None

    def note_success(self, text: str, place: str) -> None:
        """Note where a request with a credential has succeeded."""
        record = self._records.get(digest_owner(text))
        if record is not None:
            record.is_proved = True
            record.places.pop(place, None)
            if not record.places:  # it is like any other credential
                self._records.pop(digest_owner(text), None)
