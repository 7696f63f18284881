"""The table of `docs/with-your-sdk.md`, from what was measured: `python tests/interop/sdks/sdk_page.py` writes it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from sdk_scenes import Measured, measure
from sdk_table import SDK, SDKS

PAGE = Path(__file__).parents[3] / "docs" / "with-your-sdk.md"
MARKS = ("<!-- measured: written by tests/interop/sdks/sdk_page.py -->", "<!-- end of what was measured -->")
HEAD = """\
| SDK | Release | It repeats by itself | How to get in | To set | One 429 | Outage, 503 | Outage, resets | Answer lost |
|---|---|---|---|---|---|---|---|---|"""


def render_row(sdk: SDK) -> str:
    """Return the row of an SDK, with all that was measured."""
    has_class = "    " in sdk.ours
    code = f"{sdk.kind}, [below](#{anchor(sdk)})" if has_class else "<br>".join(f"`{x}`" for x in sdk.ours.split("\n"))
    cells = [
        sdk.name,
        version(sdk.package),
        sdk.loop or "nothing",
        code,
        sdk.setting or "nothing",
        by_way(sdk, "429 once", tell_result),
        by_way(sdk, "503", tell_requests),
        by_way(sdk, "reset", tell_requests),
        by_way(sdk, "answer lost once", tell_lost),
    ]
    return "| " + " | ".join(cells) + " |"


def render_class(sdk: SDK) -> str:
    """Return the code of an SDK that no cell holds, or nothing."""
    return f"### {sdk.name}\n\n```py\n{sdk.ours}\n```\n" if "    " in sdk.ours else ""


def anchor(sdk: SDK) -> str:
    """Return where that code stands on the page."""
    return sdk.name.lower().replace(" ", "-")


def by_way(sdk: SDK, fault: str, tell) -> str:
    """Return what became of a read and of a write, without this package and with it; once where both are alike."""
    told = {}
    for way, write in (("read", False), ("write", True)):
        if sdk.write or not write:
            served = measure(sdk, "none", write=write, ours=False)
            pair = [tell(measure(sdk, fault, write=write, ours=ours), served, write) for ours in (False, True)]
            told[way] = " → ".join(pair)
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return ", ".join(f"{way} {text}" for way, text in told.items())


def tell_result(measured: Measured, served: Measured, write: bool) -> str:
    """Return whether it was served."""
    return "served" if measured.result == served.result else "fails"


def tell_requests(measured: Measured, served: Measured, write: bool) -> str:
    """Return how many requests it came to."""
    return "no end" if measured.result == "goes on for ever" else str(measured.received)


def tell_lost(measured: Measured, served: Measured, write: bool) -> str:
    """Return whether it was served, and how often a write was carried out."""
    times = {1: ", one write", 2: ", two writes"}.get(measured.processed, "") if write else ""
    return tell_result(measured, served, write) + times


def render() -> str:
    """Return the whole table, and the code that it refers to."""
    rows = "\n".join([HEAD, *map(render_row, SDKS)])
    return "\n\n".join([rows, *filter(None, map(render_class, SDKS))]).rstrip() + "\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{render()}\n{MARKS[1]}{after}")
