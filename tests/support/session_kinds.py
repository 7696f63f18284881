"""The ways in which a session comes to be: what an auth object has to serve."""

from __future__ import annotations

from collections.abc import Callable

import requests

import polvo_adapters as polvo


def mounted() -> requests.Session:
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter())
    return session


SESSIONS: dict[str, Callable[[], requests.Session]] = {
    "plain": requests.Session,
    "polvo": polvo.Session,
    "adapter": mounted,
    "installed": lambda: polvo.install(requests.Session()),
}
