"""The owners of credentials that auth objects of this package put on requests where the value cannot name its owner.

These are credentials in the query, and those in the headers of httpx, which keeps bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polvo_adapters.shells.request_marks import marks_of, read_marks


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


def credential_parameters(request: Any) -> frozenset[str]:
    """Return the names of the query parameters of a request that are marked as credentials."""
    return frozenset(place[1:] for place in read_marks(request).owners if place.startswith("?"))
