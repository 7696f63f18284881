"""Several secrets at a time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.secrets.provider import copy_without_request
from polvo_adapters.secrets.secret import Secret


def fetch_all(secrets: Mapping[str, Secret | str], *, max_concurrency: int = 8) -> dict[str, str]:
    """Return the values of several secrets, fetched at the same time unless they are held already.

    Args:
        secrets: The secrets, or their URIs, by names of your own.
        max_concurrency: How many are fetched at a time.

    Returns:
        The values by the same names; all of them, or none.

    Raises:
        SecretError: The first of those that cannot be fetched; its message names all of them.
        ConfigurationError: A setting cannot work; nothing was fetched.
    """
    if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int) or max_concurrency < 1:
        raise ConfigurationError(f"fetch_all: max_concurrency={max_concurrency!r} must be a whole number of at least 1")
    given = {name: Secret(secret) if isinstance(secret, str) else secret for name, secret in secrets.items()}
    if not given:
        return {}
    with ThreadPoolExecutor(min(max_concurrency, len(given)), "secrets") as workers:
        futures = {name: workers.submit(copy_context().run, secret.get) for name, secret in given.items()}
    failed = {name: error for name, future in futures.items() if (error := future.exception()) is not None}
    for error in failed.values():
        raise _name_all(error, list(failed)) if isinstance(error, PolvoError) and len(failed) > 1 else error
    return {name: future.result() for name, future in futures.items()}


def _name_all(error: PolvoError, names: list[str]) -> PolvoError:
    copy = copy_without_request(error)
    copy.args = (f"{error}; failed in all: {', '.join(map(repr, names))}",)
    return copy
