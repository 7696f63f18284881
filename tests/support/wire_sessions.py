"""Sessions that reach the wire in every way in which an adapter can be put into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

import polvo_adapters as polvo
from polvo_adapters.adapters import BreakerAdapter, ResilientAdapter

RETRY: Any = {"base": 0.001, "max_attempts": 2, "budget": None}


class Subclass(HTTPAdapter):
    """An adapter as many projects have one."""

    def send(self, request: Any, *arguments: Any, **keywords: Any) -> requests.Response:
        request.headers["X-Project"] = "1"
        return super().send(request, *arguments, **keywords)


def mounted(adapter: BaseAdapter) -> requests.Session:
    """Return a session with an adapter for everything."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


MOUNTINGS: dict[str, Callable[[], requests.Session]] = {
    "mounted": lambda: mounted(ResilientAdapter(RETRY)),
    "installed": lambda: polvo.install(mounted(HTTPAdapter()), retry=RETRY),
    "around a subclass": lambda: mounted(ResilientAdapter(RETRY, inner=Subclass())),
    "stacked": lambda: mounted(ResilientAdapter(RETRY, inner=BreakerAdapter(inner=ResilientAdapter(RETRY)))),
}
