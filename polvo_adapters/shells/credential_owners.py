"""The owners of credentials that auth objects of this package put on requests where the value cannot name its owner.

These are credentials in the query, and those in the headers of httpx, which keeps bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polvo_adapters.shells.request_marks import marks_of, read_marks

_PLACES = "credential_places"
"""Attribute of a response hook, or of the object that has it as a method: where an auth object puts things."""

_NOWHERE: frozenset[str] = frozenset()


def add_credential_parameter(request: Any, name: str, owner: str = "") -> None:
    """Mark a query parameter of a prepared request as a credential.

    Args:
        request: The request.
        name: Name of the parameter, not encoded.
        owner: Owner of the credential, which stays when it is refreshed; an empty string where it never changes.
    """
    add_owner(request, f"?{name}", owner)


def add_owner(request: Any, place: str, owner: str) -> None:
    """Mark the owner of a credential at a place: "?" and the name of a parameter, or a header in lower case."""
    marks = marks_of(request)
    marks.owners = {**marks.owners, place: owner}


def credential_owners(request: Any) -> Mapping[str, str]:
    """Return the owners of the credentials of a request that are marked, by place."""
    return read_marks(request).owners


def credential_places(request: Any) -> frozenset[str]:
    """Return where auth objects of this package have put something on a request, as places of `add_owner`.

    Marks stay behind when `requests` copies a request for a redirect. The hooks of the auth objects go along, and a
    server that redirects within its origin often repeats the query.
    """
    marks, hooks = read_marks(request), getattr(request, "hooks", None)
    found = hooks.get("response") if hooks else None
    if not marks.owners and not marks.places and not found:
        return _NOWHERE
    places = {*marks.owners, *marks.places}
    for hook in (found,) if callable(found) else found or ():
        places.update(getattr(getattr(hook, "__self__", hook), _PLACES, ()))
    return frozenset(places)


def credential_parameters(request: Any) -> frozenset[str]:
    """Return the names of the query parameters that auth objects of this package have put on a request."""
    places = credential_places(request)
    return frozenset([place[1:] for place in places if place.startswith("?")]) if places else _NOWHERE
