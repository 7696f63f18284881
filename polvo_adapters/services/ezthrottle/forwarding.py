"""`auto_forward`: a function that raises ForwardToEZThrottle has its call submitted as a job."""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.errors import ForwardToEZThrottle

if TYPE_CHECKING:
    from polvo_adapters.services.ezthrottle.client import EZThrottle
    from polvo_adapters.services.ezthrottle.results import JobResult

P = ParamSpec("P")
R = TypeVar("R")


def auto_forward(client: EZThrottle) -> Callable[[Callable[P, R]], Callable[P, R | JobResult]]:
    """Return a decorator of functions that may raise ForwardToEZThrottle.

    Args:
        client: The client that submits the job.

    Returns:
        A decorator; the function then returns what it did before, or the result of the job.

    Raises:
        ArgumentError: When it decorates an asynchronous function.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R | JobResult]:
        if inspect.iscoroutinefunction(function):
            raise checks.refuse("auto_forward", "the function is asynchronous, and what it raises would not be seen")

        @functools.wraps(function)
        def run(*args: P.args, **keywords: P.kwargs) -> R | JobResult:
            try:
                return function(*args, **keywords)
            except ForwardToEZThrottle as error:
                fields: dict[str, Any] = {name: value for name, value in error.fields.items() if value is not None}
            fields.setdefault("idempotent_key", str(uuid.uuid4()))
            return client.submit_job(**{"url": "", **fields})

        return run

    return decorate
