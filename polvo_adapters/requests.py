"""`import polvo_adapters.requests as requests`: every name of `requests`, resilient underneath.

Names, signatures, return values and exceptions are those of `requests`; only `Session`, `session` and the verbs are
defined here, and differ only in the adapters that they mount. The submodules are the very modules of `requests`, except
that `sessions` and `api` have the `Session` and the verbs of this module.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

import requests as _requests
from requests import (
    ConnectionError,  # noqa: A004 - as `requests` names it
    ConnectTimeout,
    HTTPError,
    JSONDecodeError,
    PreparedRequest,
    ReadTimeout,
    Request,
    RequestException,
    Response,
    Timeout,
    TooManyRedirects,
    URLRequired,
    codes,
    packages,
    utils,
)

from polvo_adapters.shells.requests.api import SharedConnections
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter

_connections = SharedConnections(timeout=30.0)


class Session(_requests.Session):
    """A `requests.Session` with the standard stack mounted; see `polvo_adapters.ResilientAdapter`."""

    def __init__(self) -> None:
        super().__init__()
        for prefix in self.adapters:
            adapter = self.adapters[prefix] = ResilientAdapter()
            adapter.serve(self)


def session() -> Session:
    """Return a new Session."""
    return Session()


def request(method: str, url: str, **kwargs: Any) -> Response:
    """Send a request; see `requests.request`."""
    session = _requests.Session()
    owner = _connections.lend(session)
    try:
        return session.request(method, url, **kwargs)
    finally:
        owner.close()


def get(url: str, params: Any = None, **kwargs: Any) -> Response:
    """Send a GET request; see `requests.get`."""
    return request("get", url, params=params, **kwargs)


def options(url: str, **kwargs: Any) -> Response:
    """Send an OPTIONS request; see `requests.options`."""
    return request("options", url, **kwargs)


def head(url: str, **kwargs: Any) -> Response:
    """Send a HEAD request; see `requests.head`."""
    kwargs.setdefault("allow_redirects", False)
    return request("head", url, **kwargs)


def post(url: str, data: Any = None, json: Any = None, **kwargs: Any) -> Response:
    """Send a POST request; see `requests.post`."""
    return request("post", url, data=data, json=json, **kwargs)


def put(url: str, data: Any = None, **kwargs: Any) -> Response:
    """Send a PUT request; see `requests.put`."""
    return request("put", url, data=data, **kwargs)


def patch(url: str, data: Any = None, **kwargs: Any) -> Response:
    """Send a PATCH request; see `requests.patch`."""
    return request("patch", url, data=data, **kwargs)


def delete(url: str, **kwargs: Any) -> Response:
    """Send a DELETE request; see `requests.delete`."""
    return request("delete", url, **kwargs)


class _Overlay(ModuleType):
    """A submodule of `requests` with some names replaced; to set any other name sets it in the original too."""

    def __init__(self, module: ModuleType, replaced: dict[str, Any]) -> None:
        super().__init__(module.__name__, module.__doc__)
        self.__dict__.update(vars(module), **replaced)
        self.__dict__.update(_original=module, _replaced=frozenset(replaced))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name not in self._replaced:
            setattr(self._original, name, value)


def _add_submodules() -> None:
    own = globals()
    verbs = ("request", "get", "options", "head", "post", "put", "patch", "delete")
    overlays = {"sessions": ("Session", "session"), "api": verbs}
    for found in pkgutil.iter_modules(_requests.__path__):
        module = importlib.import_module(f"requests.{found.name}")
        names = overlays.get(found.name)
        if names is not None:
            module = _Overlay(module, {name: own[name] for name in names})
        sys.modules[f"{__name__}.{found.name}"] = module
        own[found.name] = module


_add_submodules()
for _name, _value in vars(_requests).items():
    globals().setdefault(_name, _value)

__all__ = [
    "ConnectTimeout",
    "ConnectionError",
    "HTTPError",
    "JSONDecodeError",
    "PreparedRequest",
    "ReadTimeout",
    "Request",
    "RequestException",
    "Response",
    "Session",
    "Timeout",
    "TooManyRedirects",
    "URLRequired",
    "codes",
    "delete",
    "get",
    "head",
    "options",
    "packages",
    "patch",
    "post",
    "put",
    "request",
    "session",
    "utils",
]
