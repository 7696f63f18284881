"""Operations of Taruvi, each written once: as a generator of calls, for a client on threads and one on an event loop.

Theory of operation. An operation is a method that is a generator. It yields effects, and returns the result or raises
the error of its service:

    effect    the client performs                                  and sends in
    --------  ---------------------------------------------------  ------------------------------------------
    Call      one logical call, with the client's policies         a Reply, also where there is no response
    Together  several operations, a bounded number at a time       their results in order, or the first error

It reads no clock and opens no socket. The decorator `operation` makes a method of it that runs the generator: a module
of a synchronous client returns its result, one of an asynchronous client a coroutine. To type checkers the modules are
generic over the two, so that both know arguments and results from the one definition.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from types import MethodType
from typing import Any, BinaryIO, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from polvo_adapters.redaction import unpicklable

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NO_BODY: Any = object()
"""The body of a call without one; None is a JSON value."""


class Sync:
    """Marks modules whose methods return results."""


class Async:
    """Marks modules whose methods return coroutines."""


Mode_co = TypeVar("Mode_co", covariant=True)


@unpicklable
class Call(NamedTuple):
    """Effect: make one logical call. The client sends in a Reply.

    Attributes:
        method: Upper-case HTTP method.
        path: What is appended to the URL of the API, with a slash at its beginning; segments are quoted.
        params: Query parameters: names and texts.
        body: What is sent as JSON, or NO_BODY.
        fields: Fields of a multipart body.
        files: Files of a multipart body: name of the field, and name, file and type of the content.
        timeout: Seconds for this call in place of the client's, or None.
        target: A file that the body of a success is written to, or None to have it in the reply.
        is_file: Whether a file goes along in either direction, which takes any time as long as it moves.
        anonymous: Whether the client's credential stays away.
        idempotent: Whether the call may be repeated although its method says nothing; None for what the method says.
        secrets: Texts of the body that no text of an error may show.
    """

    method: str
    path: str
    params: Sequence[tuple[str, str]] = ()
    body: Any = NO_BODY
    fields: Mapping[str, str] | None = None
    files: Sequence[tuple[str, tuple[str, Any, str]]] = ()
    timeout: float | None = None
    target: BinaryIO | None = None
    is_file: bool = False
    anonymous: bool = False
    idempotent: bool | None = None
    secrets: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.path}>"


@unpicklable
class Together(NamedTuple):
    """Effect: run operations at the same time, all within the time of one call.

    Attributes:
        operations: The operations.
    """

    operations: Sequence[Operation[Any]]


@unpicklable
class Reply(NamedTuple):
    """The response to a call, or the reason that there is none.

    Attributes:
        status: Status of the response, or 0 where there was none; with `problem` that of the login.
        body: Its body; empty where it was written to a file.
        kind: Its Content-Type.
        headers: Its headers.
        host: Host that the call went to.
        retry_after: Seconds that the server asks to wait, or None.
        attempts: How often the request was sent.
        problem: The reason that there is no response, for a person, or an empty string; nothing secret.
        reason: The same for a program: "timeout", "connection", "login", "response", "argument" or "other".
        is_authenticated: Whether a credential went along.
        secrets: What no text may show: the credential that went along, and secrets of the body.
        moved: Path that the same call is to be sent to, where the server says so (307, 308), or an empty string.
    """

    status: int = 0
    body: bytes = b""
    kind: str = ""
    headers: Mapping[str, str] = {}
    host: str = ""
    retry_after: float | None = None
    attempts: int = 0
    problem: str = ""
    reason: str = ""
    is_authenticated: bool = False
    secrets: Sequence[str] = ()
    moved: str = ""

    def __repr__(self) -> str:
        return f"<Reply {self.status} {self.reason}>"

    @property
    def is_success(self) -> bool:
        """Whether there is a response with a status of 200 to 299."""
        return not self.problem and 200 <= self.status < 300


Effect: TypeAlias = Call | Together
Operation: TypeAlias = Generator[Effect, Any, T]


class Runner(Protocol):
    """What runs operations: a client."""

    @property
    def app_slug(self) -> str:
        """The app, as a segment of a path."""

    @property
    def wire(self) -> str:
        """The version of the protocol."""

    def run(self, operation: Operation[T]) -> Any:
        """Return the result of an operation, or a coroutine that does."""


class Module(Generic[Mode_co]):
    """A part of the API: its operations are methods that `operation` decorates.

    Args:
        client: The client that runs them.
    """

    def __init__(self, client: Runner) -> None:
        self._client = client

    @property
    def _app(self) -> str:
        """The path of the app."""
        return f"/api/apps/{self._client.app_slug}"

    @property
    def _is_current(self) -> bool:
        """Whether the wire is that of today, and not "2026-01"."""
        return self._client.wire == "current"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"


class operation(Generic[P, T_co]):  # noqa: N801 - a decorator
    """Make a method that is run by the client of its module of a generator of calls."""

    def __init__(self, function: Callable[Concatenate[Any, P], Operation[T_co]]) -> None:
        @functools.wraps(function)
        def run(module: Module[Any], *arguments: P.args, **keywords: P.kwargs) -> Any:
            running = function(module, *arguments, **keywords)
            del arguments, keywords  # of which some are secret, and tracebacks show the variables of this frame
            return module._client.run(running)

        self.function = function
        self._run = run
        functools.update_wrapper(self, function)  # type: ignore[arg-type]  # for tools that read documentation

    @overload
    def __get__(self, instance: None, owner: Any) -> operation[P, T_co]: ...
    @overload
    def __get__(self, instance: Module[Sync], owner: Any) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, instance: Module[Async], owner: Any) -> Callable[P, Coroutine[Any, Any, T_co]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else MethodType(self._run, instance)
