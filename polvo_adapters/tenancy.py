"""On whose behalf a call is made, and where its request says so.

Theory of operation. A *tenant* is a customer on whose behalf calls are made. Blocks (`with`) are kept in a context
variable, the innermost last, so that each thread and each task has its own. A block belongs to one session, or to all:

    asked by                     answer
    ---------------------------  -----------------------------------------------------------------
    a session                    the innermost block of its own or of all; then its `set_tenant`
    `current_tenant()`           the innermost block of all, or the call that a session is making
    an adapter, auth, transport  as `current_tenant()`

While a session makes a call it opens a block that only it and `current_tenant()` see. So whatever works for that call
(auth, adapters, hooks) acts for the same tenant, and another session that is used meanwhile keeps to its own.

A block is taken out by itself and not by what was there before it, because generators end in any order.

`Tenancy` writes the tenant into a request: as a header, a subdomain, a Host header or a path prefix. It takes dot
segments out of the URL first, encoded ones as well: "../other" must not climb out of a tenant's path.
"""

from __future__ import annotations

import copy
import inspect
import re
import unicodedata
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast
from urllib.parse import quote

import requests
from urllib3.util import Url

from polvo_adapters.address import as_sent, origin_as_sent
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.flow import origin

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

_LONGEST = 255  # characters of a tenant's name
_SHOWN = 60  # characters of a bad one in a message
_SLOT = "{tenant}"
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, halves of characters, separators of lines and paragraphs
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PORT = re.compile(r"(?::[0-9]{1,5})?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_ADDRESS = re.compile(r"\[.*|[0-9.]+")
_TAKEN = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Block:
    """Calls within it are made on behalf of a tenant; `tenant` and `Session.tenant` make it.

    It serves as a context manager, again and again and within itself, in any number of threads and tasks, and as a
    decorator of functions and coroutine functions.

    Args:
        name: The tenant, checked; an empty string for none.
        session: The session that it is for, or None for all.
        call: Whether it is a call of that session, which `current_tenant` tells of.
    """

    __slots__ = ("call", "name", "session")

    def __init__(self, name: str, session: requests.Session | None = None, *, call: bool = False) -> None:
        self.name = name
        self.session = session
        self.call = call

    def __enter__(self) -> str:
        _blocks.set((*_blocks.get(), self))
        return self.name

    def __exit__(self, *_: object) -> None:
        blocks = _blocks.get()
        for index in range(len(blocks) - 1, -1, -1):
            if blocks[index] is self:
                _blocks.set(blocks[:index] + blocks[index + 1 :])
                return

    def __call__(self, function: AnyFunction) -> AnyFunction:
        """Return a function that is called on behalf of the tenant.

        Raises:
            TypeError: It is a generator function, of which only the caller knows when it runs.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"a generator function cannot be for a tenant; put `with` into {function.__name__}")
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def awaited(*args: Any, **keywords: Any) -> Any:
                with self:
                    return await function(*args, **keywords)

            return cast("AnyFunction", awaited)

        @wraps(function)
        def called(*args: Any, **keywords: Any) -> Any:
            with self:
                return function(*args, **keywords)

        return cast("AnyFunction", called)

    def __repr__(self) -> str:
        return f"<tenant {self.name!r}>"


_blocks: ContextVar[tuple[Block, ...]] = ContextVar("tenants", default=())


def tenant(identifier: str | int) -> Block:
    """Make all calls within a `with` block, by whatever session, adapter or transport, on behalf of a tenant.

    The block holds in its thread or task only. Tasks that it starts inherit it; threads that it starts do not, unless
    they are given a copy of the context (`contextvars.copy_context().run`, `asyncio.to_thread`).

    Args:
        identifier: Name or number of the tenant, at most 255 characters. It is no secret: reports and messages show it.

    Returns:
        A context manager, which is a decorator as well.

    Raises:
        ConfigurationError: It cannot be the name of a tenant.
    """
    return Block(checked(identifier))


def current_tenant() -> str:
    """Return the tenant on whose behalf a call would be made or is being made, or an empty string.

    `Session.set_tenant` and `Session.tenant` count while that session makes a call, so that auth objects, hooks and
    adapters need to ask nobody else.
    """
    for block in reversed(_blocks.get()):
        if block.session is None or block.call:
            return block.name
    return ""


def on_behalf(session: requests.Session, otherwise: str, tenancy: Tenancy | None = None) -> AbstractContextManager[str]:
    """Return the block for a call of a session, or for a part of the call that it is making.

    Args:
        session: The session.
        otherwise: The tenant where there is no block for it.
        tenancy: That of the session.

    Raises:
        ConfigurationError: There is no tenant, and there has to be one.
    """
    blocks = _blocks.get()
    if blocks and blocks[-1].call and blocks[-1].session is session:
        return nullcontext(blocks[-1].name)
    name = otherwise
    for block in reversed(blocks):
        if block.session is None or block.session is session:
            name = block.name
            break
    if not name and tenancy is not None and tenancy.required:
        raise ConfigurationError(
            "there is no tenant, and Tenancy(required=True) wants one; call within `with session.tenant(...)`, "
            "nothing was sent"
        )
    return Block(name, session, call=True)


def checked(identifier: str | int) -> str:
    """Return the name of a tenant as text.

    Raises:
        ConfigurationError: It is neither text nor a whole number, empty, too long, or has control characters.
    """
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        # Without `str`, which names the member of an enumeration.
        name = int.__repr__(identifier) if identifier.bit_length() <= 4 * _LONGEST else "9" * (_LONGEST + 1)
    elif isinstance(identifier, str):
        name = str.__str__(identifier)
    else:
        raise ConfigurationError(f"tenant: expected text or a whole number, not {type(identifier).__name__}")
    if not name:
        raise ConfigurationError("tenant '': a tenant must have a name; to be without one, use no block")
    if len(name) > _LONGEST:
        raise _unfit(name, f"a tenant's name may have {_LONGEST} characters at most")
    if any(unicodedata.category(character) in _UNFIT for character in name):
        raise _unfit(name, "a tenant's name must not have control characters")
    return name


@dataclass(frozen=True, kw_only=True)
class Tenancy:
    """Where requests say on whose behalf they are sent.

    A tenant that does not fit where it is to be written is refused before anything is sent.

    Args:
        header: Name of a header that holds the tenant, which must be visible ASCII then.
        subdomain: Whether the tenant goes before the host of the URL, as a DNS label of its own.
        host: A Host header such as "{tenant}.example.com", while the connection goes to the host of the URL. The
            tenant must be a DNS label.
        path: A prefix such as "/t/{tenant}" that goes before the whole path of the URL, that of a base URL included.
            The tenant is percent-encoded, and may be neither "." nor "..".
        required: Whether a call without a tenant is an error.

    Raises:
        ConfigurationError: A value makes no sense, two contradict each other, or there is none.
    """

    header: str | None = None
    subdomain: bool = False
    host: str | None = None
    path: str | None = None
    required: bool = False

    def __post_init__(self) -> None:
        for field in ("subdomain", "required"):
            if not isinstance(getattr(self, field), bool):
                raise self._wrong(field, "True or False")
        if not (self.header or self.subdomain or self.host or self.path or self.required):
            raise ConfigurationError("Tenancy(): name a header, subdomain, host or path, or required=True")
        if self.header is not None and (not _is(_TOKEN, self.header) or self.header.lower() in _TAKEN):
            raise self._wrong("header", "the name of a header that nothing else is said with")
        if self.host is not None and not (_has_slot(self.host) and _is_host(self.host.replace(_SLOT, "t"))):
            raise self._wrong("host", "a host name with {tenant} in it, such as '{tenant}.example.com'")
        if self.path is not None and not _is_prefix(self.path):
            raise self._wrong("path", "a path with {tenant} in it, such as '/t/{tenant}', without query")
        if self.subdomain and self.host is not None:
            raise self._wrong("host", "None where subdomain=True: both say which host is asked")

    def _wrong(self, field: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(f"Tenancy({field}={getattr(self, field)!r}): {field} must be {wanted}")

    @property
    def names_host(self) -> bool:
        """Whether the tenant is told by the host."""
        return self.subdomain or self.host is not None

    def is_home(self, url: str, name: str, base_url: str | None) -> bool:
        """Tell whether a URL is one of the base URL's origin, or of the tenant's subdomain of it."""
        if base_url is None:
            return True
        here = origin_as_sent(url)
        if here == _base_origin(base_url):
            return True
        if not self.subdomain or not _LABEL.fullmatch(name):
            return False
        return here == origin(self._below(as_sent(base_url), name).url)

    def address(self, url: str, name: str, base_url: str | None, *, relative: bool = False) -> str:
        """Return where a request goes that is made on behalf of a tenant.

        Args:
            url: An absolute URL.
            name: The tenant, or an empty string.
            base_url: The base URL of the session; URLs of other origins are left alone.
            relative: Whether the URL was made of the base URL. One that the caller gave as a whole may be a link
                from an answer, and name the tenant already.
        """
        if not name or not (self.subdomain or self.path) or not self.is_home(url, name, base_url):
            return url
        parts = as_sent(url)
        if self.subdomain and (base_url is None or origin(parts.url) == _base_origin(base_url)):
            parts = self._below(parts, name)
        if self.path:
            prefix, path = self._prefix(name), parts.path or ""
            if relative or not (path + "/").startswith(prefix + "/"):
                parts = parts._replace(path=prefix + path)
        return parts.url

    def applied(self, request: requests.Request, name: str, base_url: str | None) -> requests.Request:
        """Return a request as it is sent on behalf of a tenant.

        Raises:
            ConfigurationError: The tenant does not fit where it is to be written.
        """
        url: Any = request.url
        if not name or not self.is_home(url, name, base_url):
            return request
        request = copy.copy(request)
        request.url = self.address(url, name, base_url)
        told = self._headers(name)
        if told:
            replaced = {header.lower() for header in told}
            given = {
                header: value
                for header, value in dict(request.headers or {}).items()
                if _text(header).lower() not in replaced
            }
            request.headers = {**given, **told}
        return request

    def withdraw(self, headers: MutableMapping[str, Any]) -> None:
        """Take the tenant out of the headers of a request that was redirected to another origin."""
        for header in (self.header, self.host and "Host"):
            if header:
                headers.pop(header, None)

    def _headers(self, name: str) -> dict[str, str]:
        told = {}
        if self.header:
            if not _VISIBLE.fullmatch(name):
                raise _unfit(name, f"the header {self.header} takes visible ASCII only")
            told[self.header] = name
        if self.host:
            told["Host"] = self.host.replace(_SLOT, _label(name, "host"))
            if not _is_host(told["Host"]):
                raise _unfit(name, f"it makes no host name of host={self.host!r}")
        return told

    def _below(self, parts: Url, name: str) -> Url:
        host = parts.host or ""
        if not host or _ADDRESS.fullmatch(host):
            raise ConfigurationError(f"Tenancy(subdomain=True): {host or 'a URL without a host'} can have no subdomain")
        return parts._replace(host=f"{_label(name, 'subdomain')}.{host}")

    def _prefix(self, name: str) -> str:
        if name in (".", ".."):
            raise _unfit(name, "in a path it would mean another place")
        return (self.path or "").rstrip("/").replace(_SLOT, quote(name, safe=""))


@lru_cache(maxsize=64)
def _base_origin(base_url: str) -> str:
    return origin_as_sent(base_url)


def _label(name: str, field: str) -> str:
    if not _LABEL.fullmatch(name):
        wanted = "letters, digits and inner hyphens, at most 63"
        raise _unfit(name, f"as {field} it must be one DNS label ({wanted})")
    return name


def _text(header: str | bytes) -> str:
    return header.decode("latin-1") if isinstance(header, bytes) else header


def _unfit(name: str, why: str) -> ConfigurationError:
    shown = repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}..."
    return ConfigurationError(f"tenant {shown}: {why}; nothing was sent")


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _has_slot(template: object) -> bool:
    return isinstance(template, str) and template.count(_SLOT) == 1


def _is_host(host: str) -> bool:
    name, colon, port = host.partition(":")
    return len(name) <= 253 and all(_is(_LABEL, each) for each in name.split(".")) and _is(_PORT, colon + port)


def _is_prefix(path: object) -> bool:
    if not isinstance(path, str) or not _has_slot(path):
        return False
    filled = path.rstrip("/").replace(_SLOT, "t")
    return _is(_PATH, filled) and not {".", ".."} & set(filled.split("/"))
