"""Taruvi: functions, records, users, files and secrets of a Taruvi site; in place of `taruvi`, the published client.

    from polvo_adapters.services.taruvi import Client

    client = Client(api_url="https://api.taruvi.cloud", app_slug="my-app")
    auth_client = client.auth.signInWithPassword(username="alice@example.com", password="...")
    users = auth_client.database.query("users").page_size(10).get()

The page "Taruvi" of the documentation lists where this client differs from the published one.
"""

from __future__ import annotations

from polvo_adapters.services.taruvi.client import AsyncClient, Client, SyncClient
from polvo_adapters.services.taruvi.errors import (
    APIError,
    AuthenticationError,
    AuthorizationError,
    BillingError,
    ConfigurationError,
    ConflictError,
    ConnectionError,  # noqa: A004 - the name of the published client
    FunctionExecutionError,
    GatewayTimeoutError,
    NetworkError,
    NotAuthenticatedError,
    NotFoundError,
    RateLimitError,
    ResponseError,
    RuntimeError,  # noqa: A004 - as above
    ServerError,
    ServiceUnavailableError,
    TaruviError,
    TimeoutError,  # noqa: A004 - as above
    ValidationError,
)
from polvo_adapters.services.taruvi.functions import raise_for_result
from polvo_adapters.services.taruvi.runtime import (
    RuntimeMode,
    detect_runtime,
    get_function_context,
    is_inside_function,
)

# Without ConnectionError, RuntimeError and TimeoutError, which would hide those of Python.
__all__ = [
    "APIError",
    "AsyncClient",
    "AuthenticationError",
    "AuthorizationError",
    "BillingError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "FunctionExecutionError",
    "GatewayTimeoutError",
    "NetworkError",
    "NotAuthenticatedError",
    "NotFoundError",
    "RateLimitError",
    "ResponseError",
    "RuntimeMode",
    "ServerError",
    "ServiceUnavailableError",
    "SyncClient",
    "TaruviError",
    "ValidationError",
    "detect_runtime",
    "get_function_context",
    "is_inside_function",
    "raise_for_result",
]

_SHADOWING = (ConnectionError, RuntimeError, TimeoutError)
