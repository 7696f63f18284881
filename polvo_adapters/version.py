"""The version of this package, and the Pythons that it runs on."""

import sys

__version__ = "0.1.0"

LOWEST = (3, 10)


def require_python(running: "tuple[int, ...]" = tuple(sys.version_info[:2])) -> None:
    """Raise ImportError on a Python that is too old, where pip has not looked: a clone on the path."""
    if running < LOWEST:
        found, wanted = (".".join(map(str, each[:2])) for each in (running, LOWEST))
        raise ImportError(f"polvo_adapters needs Python {wanted} or later, and this is Python {found}")
