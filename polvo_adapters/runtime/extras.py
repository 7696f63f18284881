"""The command that installs an optional library, from where the user is.

Theory of operation. The package may run from a clone, be installed from one, or come from an index. Only the metadata
of the installation tell (PEP 610), or the files beside the package. The command is what can be pasted: with this very
Python, and with the clone's own path where the user is not in it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "polvo_adapters"
_BESIDE = Path(__file__).parents[2]  # what the package lies in: a clone, or site-packages


def install_command(extra: str) -> str:
    """Return the command that installs what an extra of this package needs.

    Args:
        extra: Name of the extra, such as "cli".
    """
    return f"{_find_python()} -m pip install {_find_source(extra)}"


def missing_text(what: str, library: str, extra: str) -> str:
    """Return the message for an optional library that is not installed.

    Args:
        what: What needs it, as the subject of a sentence.
        library: Name of the library.
        extra: Name of the extra that has it.
    """
    return f"{what} needs {library}: {install_command(extra)}"


def _find_python() -> str:
    """Return this Python as the user may type it."""
    given = sys.executable or "python"
    if _is_same(shutil.which("python"), given):
        return "python"
    below = os.path.relpath(given)
    return shlex.quote(given if below.startswith("..") else below)


def _is_same(found: str | None, given: str) -> bool:
    # Not the files that links lead to: that of a virtual environment leads out of it.
    return found is not None and os.path.abspath(found) == os.path.abspath(given)


def _find_source(extra: str) -> str:
    """Return what pip is to install: this clone, the place that it was installed from, or the name at the index."""
    origin = _read_origin()
    url = str(origin.get("url", ""))
    if (_BESIDE / "setup.cfg").is_file() and not url:
        return _name_clone(_BESIDE, extra)
    if url.startswith("file:"):
        clone = Path(url2pathname(urlsplit(url).path))
        is_editable = origin.get("dir_info", {}).get("editable") is True
        return ("-e " if is_editable else "") + _name_clone(clone, extra) if clone.is_dir() else _name_index(extra)
    repository = origin.get("vcs_info", {}).get("vcs")
    return _name_index(extra) if not repository else shlex.quote(f"{_NAME}[{extra}] @ {repository}+{url}")


def _name_clone(clone: Path, extra: str) -> str:
    place = "." if Path.cwd() == clone.resolve() else str(clone)
    return shlex.quote(f"{place}[{extra}]")


def _name_index(extra: str) -> str:
    return shlex.quote(f"{_NAME}[{extra}]")


def _read_origin() -> dict[str, Any]:
    """Return what pip has noted of the place that the package that runs here was installed from."""
    try:
        text = metadata.distribution(_NAME).read_text("direct_url.json")
        found = json.loads(text or "{}")
    except (metadata.PackageNotFoundError, ValueError, OSError):
        return {}
    return found if isinstance(found, dict) and _is_ours(found) else {}


def _is_ours(origin: dict[str, Any]) -> bool:
    """Return whether the metadata are of the package that runs, and not of one that a path hides."""
    if not (_BESIDE / "setup.cfg").is_file():
        return True  # in site-packages
    place = url2pathname(urlsplit(str(origin.get("url", ""))).path)
    return os.path.realpath(place) == os.path.realpath(_BESIDE)
