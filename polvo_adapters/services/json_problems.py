"""Why a value is no JSON: where in it the part is that cannot be written, and of what kind that part is.

Python's own error names the type and not the place. Names of fields are shown, values never are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

_DEEPEST = 200
_LONGEST_NAME = 40


def find_json_problem(value: Any) -> str:
    """Return what keeps a value from being written as JSON, or an empty string.

    Args:
        value: The value.

    Returns:
        For instance "['user']['born'] is a date".
    """
    try:
        json.dumps(value, allow_nan=False)
    except RecursionError:
        return "it is nested too deeply, or holds itself"
    except (TypeError, ValueError):
        return next(_walk(value, "", 0), "it is nested too deeply, or holds itself")
    return ""


def _walk(value: Any, at: str, depth: int) -> Iterator[str]:
    """Tell what is wrong with a value and its parts, from the first to the last."""
    place = at or "it"
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for name, part in value.items():
            if not isinstance(name, (str, int, float)) and name is not None:
                yield f"{place} has a key that is of type {type(name).__name__}"
            yield from _walk(part, f"{at}[{_show_name(name)}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _walk(part, f"{at}[{index}]", depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{place} is {value}, which JSON does not have"
    elif not isinstance(value, (str, int)) and value is not None:
        yield f"{place} is of type {type(value).__name__}"


def _show_name(name: object) -> str:
    text = repr(name) if isinstance(name, (str, int, float)) or name is None else "..."
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def describe_no_json(kind: str) -> str:
    """Return what a body is that should be JSON and is not, by the content type that the server has named."""
    if "json" in kind.lower():
        return f"no JSON, though the server says that it is {kind}"
    return f"no JSON, but {kind or 'of no named type'}"
