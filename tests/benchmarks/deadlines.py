"""How long a call with a deadline takes, when a server keeps the client waiting in any phase.

What: seconds of a call with `deadline=1`, for every scene of `tests.support.deadline_scenes` (under `requests`) and of
`httpx_deadline_scenes` (under `httpx.Client` and `httpx.AsyncClient`): a pool whose only connection is busy, a name
that is not resolved, silent addresses, handshakes of proxies and TLS that hang or drip, uploads to a slow reader,
responses that hang or drip, pools and transports of one's own, pyOpenSSL.

How: each call once, one after the other, against raw servers on other threads of this process.

Why that way: the promise is about the longest, so that a mean would tell nothing. A call that ends in another way than
by the deadline is marked.
"""

from __future__ import annotations

import time
from functools import partial

import polvo_adapters as polvo
from tests.benchmarks.tokens import Figure
from tests.support import httpx_deadline_scenes
from tests.support.deadline_scenes import SCENES, Scene

DEADLINE, BAR = 1.0, 1.1  # seconds
_QUICK = 10  # scenes of a quick run, and the part of the deadline that it takes


_SCENES: dict[str, Scene] = {
    **{f"requests, {name}": scene for name, scene in SCENES.items()},
    **{f"httpx {name}": partial(scene, kind) for name, (kind, scene) in httpx_deadline_scenes.SCENES.items()},
}
_CLIENTS = ("requests", "httpx sync", "httpx async")


def deadlines(*, quick: bool = False) -> list[Figure]:
    """Measure every scene, the longest first, after the longest of each client."""
    names = sorted(_SCENES)[:: len(_SCENES) // _QUICK] if quick else list(_SCENES)
    figures = [_measure(name, _SCENES[name], DEADLINE / _QUICK if quick else DEADLINE) for name in names]
    rest = sorted(figures, key=lambda figure: -figure.value)
    return [*(_longest(client, rest) for client in _CLIENTS), *rest]


def _longest(client: str, figures: list[Figure]) -> Figure:
    """Return the first of the figures that are those of a client."""
    longest = next(figure for figure in figures if figure.name.startswith(client))
    return longest._replace(name=f"{client}: longest of all", more=longest.name, bar=f"{BAR} s")


def _measure(name: str, scene: Scene, deadline: float) -> Figure:
    with scene(deadline) as call:
        began = time.monotonic()
        try:
            call()
        except polvo.DeadlineExceeded:
            end = ""
        except Exception as error:  # noqa: BLE001 - it is shown
            end = f"ended by {type(error).__name__}"
        else:
            end = "no error"
        return Figure(name, time.monotonic() - began, "s", end)
