"""The description of an endpoint that revokes tokens in another way than RFC 7009 has it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint, require

KINDS = ("refresh_token", "access_token")
_UNUSED = ("grant_type", "scope_separator", "refresh_with", "refresh")


@dataclass(frozen=True)
class RevocationEndpoint(TokenEndpoint):
    """An endpoint that revokes tokens, for `OAuth2(revocation_url=...)` in the place of its URL.

    Args:
        kinds: Which tokens can be revoked there: "refresh_token", "access_token" or both.

    All else is as for `TokenEndpoint`, without what is about grants. The fields of a request are `token` and
    `token_type_hint`; the client authenticates as at the token endpoint, where `client_authentication` says nothing
    else. The method can be DELETE as well.

    Raises:
        ConfigurationError: A value cannot be used; the message names it.

    Source: RFC 7009 section 2.1.
    """

    METHODS: ClassVar[tuple[str, ...]] = (*TokenEndpoint.METHODS, "DELETE")

    kinds: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = type(self).__name__
        object.__setattr__(self, "kinds", tuple(self.kinds))
        require(
            bool(self.kinds) and set(self.kinds) <= set(KINDS), kind, "kinds", self.kinds, "some of " + ", ".join(KINDS)
        )
        for each in fields(TokenEndpoint):
            is_unused = each.name in _UNUSED and getattr(self, each.name) != each.default
            require(not is_unused, kind, each.name, getattr(self, each.name), "nothing: it is about grants")
