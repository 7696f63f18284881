"""Several secrets at a time."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Mapping
from contextvars import Context, copy_context
from functools import partial
from typing import TypeAlias

from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.runtime.workers import WORKERS, NoThreadError
from polvo_adapters.secrets.provider import copy_without_request
from polvo_adapters.secrets.secret import Secret

_Results: TypeAlias = "queue.SimpleQueue[tuple[str, str | BaseException]]"


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
    found = _fetch_beside(given, min(max_concurrency, len(given)))
    failed = {name: error for name in given if isinstance(error := found[name], BaseException)}
    for error in failed.values():
        raise _name_all(error, list(failed)) if isinstance(error, PolvoError) and len(failed) > 1 else error
    return {name: str(found[name]) for name in given}


def _fetch_beside(given: Mapping[str, Secret], threads: int) -> dict[str, str | BaseException]:
    """Return the value or the exception of each secret, fetched on this thread, and on others while there are any."""
    left = deque((name, secret, copy_context()) for name, secret in given.items())
    results: _Results = queue.SimpleQueue()
    for _ in range(threads - 1):
        try:
            WORKERS.run(partial(_fetch_left, left, results), "secrets")
        except NoThreadError:  # noqa: PERF203 - a few times at most
            break
    _fetch_left(left, results)
    return dict(results.get() for _ in given)


def _fetch_left(left: deque[tuple[str, Secret, Context]], results: _Results) -> None:
    """Fetch one secret after the other until none is left."""
    while True:
        try:
            name, secret, context = left.popleft()
        except IndexError:
            return
        try:
            results.put((name, context.run(secret.get)))
        except Exception as error:  # noqa: BLE001 - `fetch_all` raises it
            results.put((name, error))
        except BaseException as error:
            results.put((name, error))
            raise


def _name_all(error: PolvoError, names: list[str]) -> PolvoError:
    copy = copy_without_request(error)
    copy.args = (f"{error}; failed in all: {', '.join(map(repr, names))}",)
    return copy
