"""How long a call with a deadline takes, when a server keeps the client waiting in any phase.

What: seconds of a call with `deadline=1`, for every scene of `tests.support.deadline_scenes`: a pool whose only
connection is busy, a name that is not resolved, silent addresses, handshakes of proxies and TLS that hang or drip,
uploads to a slow reader, responses that hang or drip, pools of one's own, pyOpenSSL.

How: each call once, one after the other, against raw servers on other threads of this process.

Why that way: the promise is about the longest, so that a mean would tell nothing. A call that ends in another way than
by the deadline is marked.
"""

from __future__ import annotations

import time

import polvo_adapters as polvo
from tests.benchmarks.tokens import Figure
from tests.support.deadline_scenes import SCENES, Scene

DEADLINE, BAR = 1.0, 1.1  # seconds
_QUICK = 10  # scenes of a quick run, and the part of the deadline that it takes


def deadlines(*, quick: bool = False) -> list[Figure]:
    """Measure every scene, the longest first."""
    names = sorted(SCENES)[:: len(SCENES) // _QUICK] if quick else list(SCENES)
    figures = [_measure(name, SCENES[name], DEADLINE / _QUICK if quick else DEADLINE) for name in names]
    longest = max(figures, key=lambda figure: figure.value)
    rest = sorted(figures, key=lambda figure: -figure.value)
    return [longest._replace(name="longest of all", more=longest.name, bar=f"{BAR} s"), *rest]


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
