"""Fixtures with authorization servers, for every test; each server starts when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.oauth.authlib_server import AuthlibServer
    from tests.support.oauth.hostile import HostileServer
    from tests.support.oauth.jwt_server import JWTServer
    from tests.support.oauth.servers import OIDCProvider


@pytest.fixture(scope="session")
def oidc_process() -> Iterator[OIDCProvider]:
    from tests.support.oauth.servers import OIDCProvider

    with OIDCProvider() as provider:
        yield provider


@pytest.fixture(scope="session")
def oidc_tls_process() -> Iterator[OIDCProvider]:
    from tests.support.oauth.servers import OIDCProvider

    with OIDCProvider(tls=True) as provider:
        yield provider


@pytest.fixture
def oidc(oidc_process: OIDCProvider) -> OIDCProvider:
    """Return a certified authorization server, with settings as in the beginning and counts of zero."""
    oidc_process.reset()
    return oidc_process


@pytest.fixture
def oidc_tls(oidc_tls_process: OIDCProvider) -> OIDCProvider:
    """Return the same with TLS, client certificates, and tokens that are bound to them."""
    oidc_tls_process.reset()
    return oidc_tls_process


@pytest.fixture
def authlib_server() -> Iterator[AuthlibServer]:
    """Return an authorization server made with Authlib, new to this test."""
    from tests.support.oauth.authlib_server import AuthlibServer

    with AuthlibServer() as server:
        yield server


@pytest.fixture
def jwt_server() -> Iterator[JWTServer]:
    """Return a server that gives JWTs for a name and a password, new to this test."""
    from tests.support.oauth.jwt_server import JWTServer

    with JWTServer() as server:
        yield server


@pytest.fixture
def hostile() -> Iterator[HostileServer]:
    """Return a token endpoint that answers as none should."""
    from tests.support.oauth.hostile import HostileServer

    with HostileServer() as server:
        yield server
