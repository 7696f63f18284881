r"""Fetched environment variables: into this process, or into a file, all of them or none.

A file has one line `NAME="value"` each, with `\` and `"` escaped. Shells and the readers of such files agree on
that, and not on more: where a value has `$` or a backtick, which a shell would run, it stands in single quotes; where
it cannot, and where it has a line break, it is not written at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from typing import Any

from polvo_adapters.stores import private_files

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNWRITABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_RUN_BY_SHELLS = re.compile(r"[$`]")


def find_problem(variables: Mapping[Any, Any], *, file: bool = False) -> str:
    """Return which variable cannot be used and why, without its value, or an empty string.

    Args:
        variables: Names and values.
        file: Whether they are to be written to a file.
    """
    for name, value in variables.items():
        reason = _check_name(name, file=file) or (_check_writable(value) if file else _check_settable(value))
        if reason:
            return f"{ascii(name)[:80]}: {reason}; nothing was changed"
    return ""


def _check_name(name: Any, *, file: bool) -> str:
    if not isinstance(name, str) or not name:
        return "the name of a variable must be a string that is not empty"
    if file and not _NAME.fullmatch(name):
        return "in a file, a name has letters, digits and underscores only"
    return "the name cannot be that of a variable" if "=" in name or _check_settable(name) else ""


def _check_settable(value: Any) -> str:
    if not isinstance(value, str):
        return f"the value must be a string, and is of the type {type(value).__name__}"
    try:
        encoded = os.fsencode(value)
    except UnicodeEncodeError:
        return "the value has a character that the environment cannot hold"
    return "the value has a NUL character" if b"\0" in encoded else ""


def _check_writable(value: Any) -> str:
    if not isinstance(value, str):
        return f"the value must be a string, and is of the type {type(value).__name__}"
    if _UNWRITABLE.search(value):
        return "the value has a line break or another control character, and readers do not agree on how to write it"
    if _RUN_BY_SHELLS.search(value) and ("'" in value or "\\" in value):
        return "the value has $ or a backtick together with ' or \\, and readers do not agree on how to write it"
    return ""


def set_variables(variables: Mapping[str, str]) -> None:
    """Set variables of this process, or none where the system refuses one."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        os.environ.update(variables)
    except BaseException:
        for name, value in before.items():
            with contextlib.suppress(OSError, ValueError):  # the system refuses the same one again
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        raise


def format_lines(variables: Mapping[str, str]) -> str:
    """Return variables as lines of a file; `find_problem` has found none."""
    return "".join(f"{name}={_quote(value)}\n" for name, value in variables.items())


def _quote(value: str) -> str:
    if _RUN_BY_SHELLS.search(value):
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_file(path: str, text: str, *, append: bool = False) -> None:
    """Replace a file as a whole, or add to its end; from then on its owner alone can read it.

    Args:
        path: The file; it is no symbolic link.
        text: What to write.
        append: Whether to keep the old content, and add an empty line and the text.

    Raises:
        Unfit: The content to be kept is not one that only this user can have written.
        OSError: It cannot be written; the old content is still there.
    """
    data = text.encode()
    if append:
        data = (private_files.read_own(path) or b"") + b"\n" + data
    directory, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(".tmp", f"{name}.", directory or ".")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o600)  # the umask may have taken even this
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
