"""Secrets that are found again, in whatever form they are shown.

Every secret contains one text that occurs nowhere else. It is looked for as it is, reversed, in hexadecimal digits, and
in base64 of either alphabet at each of the three places that it may begin at within a group of three bytes; percent
encoding, JSON and `repr` leave letters and digits as they are.
"""

from __future__ import annotations

import base64
import gc
import pickle
import sys
import traceback
import types
from collections.abc import Iterable, Iterator
from typing import Any

MARK = "Zq7Xv9KwJd4"


def secret(name: str) -> str:
    """Return a secret whose name says where it was given."""
    return f"{name}/{MARK}+%=&{name}"


def word(name: str) -> str:
    """Return a secret of letters, digits and hyphens, for places that take no other."""
    return f"{name}-{MARK}-{name}"


def _base64_forms(text: bytes) -> Iterator[bytes]:
    for before in range(3):
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * before + text)
            first, last = -(-before * 8 // 6), (before + len(text)) * 8 // 6  # digits of these bytes alone
            yield encoded[first:last]


_MARK = MARK.encode()
FORMS = {_MARK, _MARK[::-1], _MARK.hex().encode(), _MARK.hex().upper().encode(), *_base64_forms(_MARK)}
_TEXTS = {form.decode() for form in FORMS}


def find(shown: str | bytes) -> str:
    """Return where in a text a secret is shown, or an empty string."""
    for form in FORMS if isinstance(shown, bytes) else _TEXTS:
        place = shown.find(form)  # type: ignore[arg-type]
        if place >= 0:
            return repr(shown[max(0, place - 60) : place + 60])
    return ""


def look(what: str, value: Any) -> list[str]:
    """Return what printing, formatting and pickling a value show of secrets."""
    found = []
    for how, shown in _forms(value):
        place = find(shown)
        if place:
            found.append(f"{what}: {how} shows {place}")
    return found


def _forms(value: Any) -> Iterator[tuple[str, str | bytes]]:
    for how, show in (("repr", repr), ("str", str), ("format", format)):
        try:
            yield how, show(value)
        except Exception as error:  # noqa: BLE001
            yield f"{how}, which fails,", repr(error)
    for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
        try:
            yield "its pickle", pickle.dumps(value, protocol)
        except Exception as error:  # noqa: BLE001 - most objects are not to be pickled
            yield "the refusal to pickle", f"{error!r}"


def look_at_error(what: str, error: BaseException) -> list[str]:
    """Return what an error shows of secrets: its texts, notes, data, causes, pickles, and the locals of our frames."""
    found = look(what, error)
    found += look(f"{what}, traceback", "".join(traceback.format_exception(error)))
    left, seen = [error], []
    while left:
        each = left.pop()
        seen.append(each)
        left += [cause for cause in (each.__cause__, each.__context__) if cause is not None and cause not in seen]
        found += look(f"{what}, {type(each).__name__}", [each.args, getattr(each, "__notes__", ()), str(each)])
        if type(each).__module__.startswith("polvo_adapters"):
            found += look(f"{what}, {type(each).__name__}, data", repr(vars(each)))
        for frame, _ in traceback.walk_tb(each.__traceback__):
            found += look_at_frame(what, frame)
    return found


ARGUMENTS = {"url", "data", "json", "params", "headers", "cookies", "proxies", "auth", "keywords", "args"}
"""What the caller has given stays what it is in the frames of the functions that take it, as in `requests`."""
_TAKERS = ("request", "get", "post", "__init__")


def look_at_frame(what: str, frame: types.FrameType) -> list[str]:
    """Return what the local variables of a frame of this package show of secrets."""
    module = frame.f_globals.get("__name__", "")
    if not module.startswith("polvo_adapters"):
        return []
    found = []
    for name, value in frame.f_locals.items():
        if name in ARGUMENTS and frame.f_code.co_name in _TAKERS:
            continue
        try:
            place = find(repr(value))
        except Exception:  # noqa: BLE001 - half made objects
            continue
        if place:
            found.append(f"{what}: the local {name} of {module}.{frame.f_code.co_name} shows {place}")
    return found


def look_at_stack(what: str) -> list[str]:
    """Return what the frames of this package on the present stack show of secrets."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        found += look_at_frame(what, frame)
        frame = frame.f_back  # type: ignore[assignment]
    return found


def live_objects() -> list[Any]:
    """Return the objects of classes of this package that are alive."""
    return [each for each in gc.get_objects() if _is_ours(type(each))]


def _is_ours(kind: type) -> bool:
    module = kind.__module__
    return type(module) is str and module.startswith("polvo_adapters")


def look_at_caches(allowed: Iterable[object] = ()) -> list[str]:
    """Return what the caches and containers of the modules of this package show of secrets."""
    found = []
    skipped = {id(each) for each in allowed}
    for name, module in list(sys.modules.items()):
        if not name.startswith("polvo_adapters"):
            continue
        for attribute, value in list(vars(module).items()):
            if id(value) in skipped or isinstance(value, (types.ModuleType, str, int, float)):
                continue
            is_ours = str(getattr(value, "__module__", "")).startswith("polvo_adapters")
            if (is_ours and hasattr(value, "cache_info")) or isinstance(value, (dict, list, set, tuple)):
                for text in _texts_below(value):
                    if find(text):
                        found.append(f"{name}.{attribute} holds {find(text)}")
    return found


def _texts_below(value: Any) -> Iterator[str | bytes]:
    left, seen = [(value, 0)], set()
    while left:
        each, depth = left.pop()
        if isinstance(each, (str, bytes)):
            yield each
        elif id(each) not in seen and depth < 6 and not isinstance(each, (types.ModuleType, types.FunctionType, type)):
            seen.add(id(each))
            left += [(below, depth + 1) for below in gc.get_referents(each)]
