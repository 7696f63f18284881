"""Where the code runs: inside a function of Taruvi, beside one on a developer's machine, or elsewhere.

The platform tells it by environment variables, which are read when the question is asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum

_YES = frozenset({"1", "true", "yes", "on"})
_CONTEXT = (
    "function_id",
    "function_name",
    "execution_id",
    "tenant",
    "app_id",
    "app_slug",
    "site_id",
    "site_slug",
    "api_url",
    "user_id",
    "user_email",
)


class RuntimeMode(Enum):
    """Where the code runs; its text is its name, such as "RuntimeMode.FUNCTION"."""

    EXTERNAL = "external"
    FUNCTION = "function"
    LOCAL_DEV = "local_dev"


def detect_runtime(environ: Mapping[str, str] | None = None) -> RuntimeMode:
    """Return where the code runs.

    Args:
        environ: The environment variables; by default those of the process.
    """
    variables = os.environ if environ is None else environ
    if _is_set(variables, "TARUVI_FUNCTION_RUNTIME"):
        return RuntimeMode.FUNCTION
    return RuntimeMode.LOCAL_DEV if _is_set(variables, "TARUVI_LOCAL_DEV") else RuntimeMode.EXTERNAL


def is_inside_function(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the code runs inside a function of Taruvi; argument as for `detect_runtime`."""
    return detect_runtime(environ) is RuntimeMode.FUNCTION


def get_function_context(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return what the platform says about the function that runs; argument as for `detect_runtime`.

    Returns:
        Its `function_id`, `function_name`, `execution_id`, `tenant`, `app_id`, `app_slug`, `site_id`, `site_slug`,
        `api_url`, `user_id` and `user_email`; None for what is not said, and so everywhere outside of a function.
    """
    variables = os.environ if environ is None else environ
    inside = is_inside_function(variables)
    return {name: (variables.get(f"TARUVI_{name.upper()}") or None) if inside else None for name in _CONTEXT}


def _is_set(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name, "").strip().lower() in _YES
