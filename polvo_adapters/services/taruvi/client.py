"""The clients of Taruvi: one on threads, one on an event loop, with the same modules.

A client does not change. `auth.signInWithPassword`, `signInWithToken` and `signOut` return a new one with connections
of its own, so that closing one leaves the others open.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Coroutine, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from polvo_adapters.errors import PolvoError
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.redaction import unpicklable
from polvo_adapters.services.operation_driver import drive, drive_async
from polvo_adapters.services.session_options import refuse_foreign_options
from polvo_adapters.services.taruvi import checks, credentials
from polvo_adapters.services.taruvi.app import Analytics, App, Settings
from polvo_adapters.services.taruvi.auth import AuthManager
from polvo_adapters.services.taruvi.credentials import ANONYMOUS, Credential
from polvo_adapters.services.taruvi.database import Database
from polvo_adapters.services.taruvi.error_factory import make_error
from polvo_adapters.services.taruvi.errors import ConfigurationError
from polvo_adapters.services.taruvi.functions import Functions
from polvo_adapters.services.taruvi.limits import bound_login
from polvo_adapters.services.taruvi.operations import Async, Call, Mode_co, Operation, Sync
from polvo_adapters.services.taruvi.policy import Policy
from polvo_adapters.services.taruvi.secrets import Secrets
from polvo_adapters.services.taruvi.sending import Wire
from polvo_adapters.services.taruvi.settings import ClientSettings, read_settings
from polvo_adapters.services.taruvi.storage import Storage
from polvo_adapters.services.taruvi.sync_sender import SyncSender
from polvo_adapters.services.taruvi.users import Users
from polvo_adapters.shells.fixed_options import fix_options

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from polvo_adapters.services.taruvi.async_sender import AsyncSender

T = TypeVar("T")
M = TypeVar("M")

MOST_CONNECTIONS = 10
"""How many calls of a client are under way at a time; further ones wait."""

_RETRIED = (429, 500, 502, 503, 504)
_CREDENTIALS = frozenset({"auth", "jwt", "api_key", "session_token", "token", "username", "password", "email"})
_KEYWORDS = ("api_url", "app_slug", "mode", "timeout", "max_retries", "site_slug", "wire", "env_file", "allow_http")
_ELSEWHERE = {
    "base_url": "api_url=...",
    "retries": "max_retries=...",
    "session": "the keywords of polvo_adapters.Session, such as rate_limit=...",
}


@partial(fix_options, maker="Client", more=(*_KEYWORDS, *_CREDENTIALS))
class BaseClient(Generic[Mode_co]):
    """What both clients have in common.

    Args:
        settings: The settings.
        credential: What authenticates the calls.
        options: Keywords of the session.
    """

    def __init__(self, settings: ClientSettings, credential: Credential, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._credential, self._options = credential, dict(options)
        self._wire = Wire.of(settings, credential)
        self._is_closed = False

    @property
    def app_slug(self) -> str:
        """The app, as a segment of a path."""
        return self._settings.app_slug

    @property
    def wire(self) -> str:
        """The version of the protocol: "current", or "2026-01"."""
        return self._settings.wire

    @property
    def is_authenticated(self) -> bool:
        """Whether the calls of this client carry a credential."""
        return self._credential.auth is not None

    @property
    def auth(self) -> AuthManager[Mode_co, Self]:
        """Signing in and out."""
        return self._module(AuthManager)

    @property
    def functions(self) -> Functions[Mode_co]:
        """Functions of the app."""
        return self._module(Functions)

    @property
    def database(self) -> Database[Mode_co]:
        """Records of the tables of the app."""
        return self._module(Database)

    @property
    def users(self) -> Users[Mode_co]:
        """Users of the site, and their roles."""
        return self._module(Users)

    @property
    def storage(self) -> Storage[Mode_co]:
        """Buckets of the app."""
        return self._module(Storage)

    @property
    def secrets(self) -> Secrets[Mode_co]:
        """Secrets of the app and of the site."""
        return self._module(Secrets)

    @property
    def policy(self) -> Policy[Mode_co]:
        """What a principal may do with resources."""
        return self._module(Policy)

    @property
    def analytics(self) -> Analytics[Mode_co]:
        """Queries for analysis that the app defines."""
        return self._module(Analytics)

    @property
    def app(self) -> App[Mode_co]:
        """The app itself."""
        return self._module(App)

    @property
    def settings(self) -> Settings[Mode_co]:
        """The site itself."""
        return self._module(Settings)

    def derive(self, credential: Credential) -> Self:
        """Return a client with the same settings and another credential."""
        return type(self)(self._settings, credential, self._options)

    def _module(self, kind: type[M]) -> M:
        """Return a module of this client, the same at every call and for every thread."""
        made: M = self.__dict__.setdefault(f"_{kind.__name__}", kind(self))  # type: ignore[call-arg]
        return made

    def _log_in_credential(self, username: str | None, password: str | None) -> Credential:
        return credentials.from_login(self._settings, username, password, self._wire.headers)

    def _session_options(self) -> dict[str, Any]:
        """Return the keywords of the session of this client.

        It has no circuit breaker unless it is given one: each answer of the server is to be the error of its status.
        """
        attempts, timeout = self._settings.max_retries + 1, self._settings.timeout
        retry = ExponentialBackoff(max_attempts=attempts, base=1.0, multiplier=2.0, retry_on=_RETRIED)
        bulkhead = {"max_concurrency": MOST_CONNECTIONS, "acquisition_timeout": timeout}
        return {"retry": retry, "bulkhead": bulkhead, "circuit_breaker": None, **self._options, "timeout": timeout}

    def _require_open(self) -> None:
        if self._is_closed:
            raise checks.refuse("client", "it is closed; make a new one")

    def _login_error(self, error: PolvoError) -> Exception:
        """Return the error for a login that failed, without its cause."""
        reply = self._wire.failure(error, "login", is_timeout=error.reason == "timeout", attempts=error.attempts)
        return make_error(Call("POST", credentials.login_path(self._settings)), reply)

    def __repr__(self) -> str:
        state = "signed in" if self.is_authenticated else "anonymous"
        return f"<{type(self).__name__} {self._settings.api_url} {self.app_slug} {state}>"


@unpicklable
class SyncClient(BaseClient[Sync]):
    """A client whose methods return results; threads may share it. `Client` makes it."""

    def run(self, operation: Operation[T]) -> T:
        """Return the result of an operation."""
        self._require_open()
        return drive(operation, self._sender().perform)

    def sign_in_with_password(self, username: str | None, password: str | None) -> SyncClient:
        """Return a client that has logged in; see `AuthManager.signInWithPassword`."""
        client = self.derive(self._log_in_credential(username, password))
        failed = None
        try:
            with bound_login():
                client._credential.auth.token()
        except PolvoError as error:
            failed = self._login_error(error)
        if failed is not None:
            raise failed
        return client

    def close(self) -> None:
        """Close the connections; calls after that raise."""
        self._is_closed = True
        sender = self.__dict__.pop("_made_sender", None)
        if sender is not None:
            sender.close()

    def _sender(self) -> SyncSender:
        sender = self.__dict__.get("_made_sender")
        if sender is None:
            sender = self.__dict__.setdefault("_made_sender", SyncSender(self._wire, self._session_options()))
        made: SyncSender = sender
        if self._is_closed:  # by another thread in the meantime, which may have found no sender to close
            made.close()
            self._require_open()
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


@unpicklable
class AsyncClient(BaseClient[Async]):
    """A client whose methods return coroutines; tasks of one event loop may share it. `Client` makes it.

    `await client.auth.signInWithPassword(...)` logs in now, and returns the client.
    """

    def run(self, operation: Operation[T]) -> Coroutine[Any, Any, T]:
        """Return a coroutine that returns the result of an operation."""
        return self._run(operation)

    async def _run(self, operation: Operation[T]) -> T:
        self._require_open()
        return await drive_async(operation, self._sender().perform)

    def sign_in_with_password(self, username: str | None, password: str | None) -> AsyncClient:
        """Return a client that logs in at its first call; see `AuthManager.signInWithPassword`."""
        return self.derive(self._log_in_credential(username, password))

    async def close(self) -> None:
        """Close the connections; calls after that raise."""
        self._is_closed = True
        sender = self.__dict__.pop("_made_sender", None)
        if sender is not None:
            await sender.close()

    def _sender(self) -> AsyncSender:
        sender = self.__dict__.get("_made_sender")
        if sender is None:
            from polvo_adapters.services.taruvi.async_sender import AsyncSender  # which needs httpx

            sender = self.__dict__.setdefault("_made_sender", AsyncSender(self._wire, self._session_options()))
        made: AsyncSender = sender
        return made

    async def _log_in(self) -> Self:
        self._require_open()
        failed = None
        try:
            await self._sender().log_in()
        except PolvoError as error:
            failed = self._login_error(error)
        if failed is not None:
            raise failed
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._log_in().__await__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


@overload
def Client(
    api_url: str | None = ...,
    app_slug: str | None = ...,
    mode: Literal["sync"] | None = ...,
    timeout: float | None = ...,
    max_retries: int | None = ...,
    site_slug: str | None = ...,
    *,
    wire: str = ...,
    env_file: str | os.PathLike[str] | None = ...,
    allow_http: bool = ...,
    **options: Any,
) -> SyncClient: ...
@overload
def Client(
    api_url: str | None = ...,
    app_slug: str | None = ...,
    *,
    mode: Literal["async"],
    timeout: float | None = ...,
    max_retries: int | None = ...,
    site_slug: str | None = ...,
    wire: str = ...,
    env_file: str | os.PathLike[str] | None = ...,
    allow_http: bool = ...,
    **options: Any,
) -> AsyncClient: ...
def Client(  # noqa: N802 - the name of the published client
    api_url: str | None = None,
    app_slug: str | None = None,
    mode: str | None = None,
    timeout: float | None = None,
    max_retries: int | None = None,
    site_slug: str | None = None,
    *,
    wire: str = "current",
    env_file: str | os.PathLike[str] | None = ".env",
    allow_http: bool = False,
    **options: Any,
) -> Any:
    """Return a client of Taruvi; what is not given is read from `TARUVI_*` variables, then from a `.env` file.

    Inside of a function of Taruvi it has the credential that the platform gives to the function. Otherwise it has none:
    sign in by `client.auth`.

    Args:
        api_url: URL of the API.
        app_slug: The app.
        mode: "sync" for a SyncClient, which is the default, or "async" for an AsyncClient.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte: 1 to 300, by default 30.
        max_retries: How often a call is repeated at most: 0 to 10, by default 3.
        site_slug: The site, which is sent as `Host: <site_slug>.localhost`.
        wire: The version of the protocol: "current", or "2026-01" for servers of that time.
        env_file: A file of variables, or None for none.
        allow_http: Whether a password may go over plain http to another machine, as between containers.
        **options: Keywords of `polvo_adapters.Session`, such as `rate_limit` or `idempotency`.

    Raises:
        ConfigurationError: A setting is missing or cannot work; the message names it, or its variable.
        TypeError: There is no such keyword.
    """
    stray = sorted(_CREDENTIALS & options.keys())
    if stray:
        del options  # which tracebacks show
        raise TypeError(
            f"Client() takes no {stray[0]}: sign in by client.auth.signInWithToken(token=..., token_type=...) or"
            " client.auth.signInWithPassword(username=..., password=...)"
        )
    given = {
        "api_url": api_url,
        "app_slug": app_slug,
        "mode": mode,
        "timeout": timeout,
        "max_retries": max_retries,
        "site_slug": site_slug,
    }
    settings = read_settings(given, wire, env_file, allow_http=allow_http)
    more: Collection[str] = ()
    if settings.mode == "async":
        from polvo_adapters.services.taruvi.async_sender import prepare_options
        from polvo_adapters.shells.httpx.session_keywords import HTTPX_KEYWORDS

        options, more = prepare_options(options), HTTPX_KEYWORDS
    refuse_foreign_options(options, "Client", (*_KEYWORDS, "clock", "deadline"), _ELSEWHERE, more)
    credential = credentials.from_token(settings.function_key, "jwt") if settings.function_key else ANONYMOUS
    client = (AsyncClient if settings.mode == "async" else SyncClient)(settings, credential, options)
    problem = ""
    try:
        client._sender()  # so that a wrong keyword, or a missing library, is told now
    except ValueError as error:  # a policy cannot work with what it is given
        problem = str(error)
    if problem:
        raise ConfigurationError(problem, reason="options")
    return client
