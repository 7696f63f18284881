"""Secrets that are found again, in whatever form they are shown.

Every secret contains one of two texts that occur nowhere else. They are looked for as they are, reversed, in
hexadecimal digits, and in base64 of either alphabet, wherever they begin within a group of three bytes. Percent
encoding, JSON and `repr` leave letters and digits as they are.

HELD is in what an object of this package holds for its user: it is never shown. OPEN is in what the caller puts into a
request in the open, and in cookies: the pickle of a session, a response or a request contains it, as it does with bare
`requests`. Errors of this package show neither.
"""

from __future__ import annotations

import base64
import gc
import pickle
import sys
import traceback
import types
from collections.abc import Iterator
from typing import Any

HELD, OPEN = "Zq7Xv9KwJd4", "Hm3Rb8YtNc6"


def secret(name: str, mark: str = HELD) -> str:
    """Return a secret whose name says where it was given."""
    return f"{name}/{mark}+%=&{name}"


def word(name: str, mark: str = HELD) -> str:
    """Return a secret of letters, digits and hyphens, for places that take no other."""
    return f"{name}-{mark}-{name}"


def _base64_forms(text: bytes) -> Iterator[bytes]:
    for before in range(3):
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * before + text)
            first, last = -(-before * 8 // 6), (before + len(text)) * 8 // 6  # digits of these bytes alone
            yield encoded[first:last]


def _forms_of(mark: str) -> list[bytes]:
    plain = mark.encode()
    return [plain, plain[::-1], plain.hex().encode(), plain.hex().upper().encode(), *_base64_forms(plain)]


_FORMS = {mark: _forms_of(mark) for mark in (HELD, OPEN)}
_TEXTS = {mark: [form.decode() for form in _FORMS[mark]] for mark in (HELD, OPEN)}


def find(shown: str | bytes, *marks: str) -> str:
    """Return where in a text a secret is shown, or an empty string; by default a secret of either kind."""
    for mark in marks or (HELD, OPEN):
        for form in _FORMS[mark] if isinstance(shown, bytes) else _TEXTS[mark]:
            place = shown.find(form)  # type: ignore[arg-type]
            if place >= 0:
                return repr(shown[max(0, place - 60) : place + 60])
    return ""


def look(what: str, value: Any, *marks: str, is_error: bool = False) -> list[str]:
    """Return what printing, formatting and pickling a value show of secrets."""
    found = []
    for how, show in (("repr", repr), ("str", str), ("format", format)):
        place = find(_try(show, value), *marks)
        found += [f"{what}: its {how} shows {place}"] if place else []
    for protocol in (0, pickle.HIGHEST_PROTOCOL):
        place = find(_try(pickle.dumps, value, protocol), *(marks if is_error else (HELD,)))
        found += [f"{what}: its pickle shows {place}"] if place else []
    return found


def _try(show: Any, *arguments: Any) -> Any:
    try:
        return show(*arguments)
    except Exception as error:  # noqa: BLE001 - most objects are not to be pickled, and half made ones not printed
        return repr(error)


def look_at_error(what: str, error: BaseException) -> list[str]:
    """Return what an error shows of secrets: its texts, notes, data, causes, pickles, and the locals of our frames."""
    found = look(f"{what}, traceback", "".join(traceback.format_exception(error)), HELD)
    left, seen = [error], [error]
    while left:
        each = left.pop()
        causes = [cause for cause in (each.__cause__, each.__context__) if cause is not None and cause not in seen]
        left += causes
        seen += causes
        is_ours = _is_ours(type(each))
        marks = () if is_ours else (HELD,)
        shown = [each.args, getattr(each, "__notes__", ()), vars(each) if is_ours else ()]
        found += look(f"{what}, {type(each).__name__}", each, *marks, is_error=is_ours)
        found += look(f"{what}, {type(each).__name__}, data", repr(shown), *marks)
        for frame, _ in traceback.walk_tb(each.__traceback__):
            found += look_at_frame(what, frame)
    return found


def look_at_frame(what: str, frame: types.FrameType) -> list[str]:
    """Return what the local variables of a frame of this package show of what its objects hold.

    What the caller has given in plain text is in the frames of the functions that take it, as in the caller's own.
    """
    module = str(frame.f_globals.get("__name__"))
    if not module.startswith("polvo_adapters") or frame.f_code.co_name == "__init__":
        return []
    if module.endswith("wire.connections") and frame.f_code.co_name == "request":
        return []  # whose arguments are those of the frame of urllib3 that calls it
    found = []
    for name, value in frame.f_locals.items():
        place = find(_try(repr, value), HELD)
        if place:
            found.append(f"{what}: the local {name} of {module}.{frame.f_code.co_name} shows {place}")
    return found


def look_at_stack(what: str) -> list[str]:
    """Return what the frames of this package on the present stack show of secrets."""
    found: list[str] = []
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        found += look_at_frame(what, frame)
        frame = frame.f_back
    return found


def live_objects() -> list[Any]:
    """Return the objects of classes of this package that are alive."""
    return [each for each in gc.get_objects() if _is_ours(type(each))]


def _is_ours(kind: type) -> bool:
    module = kind.__module__
    return type(module) is str and module.startswith("polvo_adapters")


def look_at_caches() -> list[str]:
    """Return what the caches and containers of the modules and classes of this package hold of secrets."""
    found: list[str] = []
    for name, module in list(sys.modules.items()):
        if name.startswith("polvo_adapters"):
            kinds = [each for each in vars(module).values() if isinstance(each, type) and _is_ours(each)]
            for owner in (module, *kinds):
                for attribute, value in list(vars(owner).items()):
                    held = [place for text in _texts_of_cache(value) if (place := find(text))]
                    found += [f"{name}.{attribute} holds {place}" for place in held]
    return found


def _texts_of_cache(value: Any) -> Iterator[str | bytes]:
    is_ours = str(getattr(value, "__module__", "")).startswith("polvo_adapters")
    if (is_ours and hasattr(value, "cache_info")) or isinstance(value, (dict, list, set, tuple)):
        yield from _texts_below(value)


def _texts_below(value: Any) -> Iterator[str | bytes]:
    left, seen = [(value, 0)], set()
    while left:
        each, depth = left.pop()
        if isinstance(each, (str, bytes)):
            yield each
        elif id(each) not in seen and depth < 6 and not isinstance(each, (types.ModuleType, types.FunctionType, type)):
            seen.add(id(each))
            left += [(below, depth + 1) for below in gc.get_referents(each)]
