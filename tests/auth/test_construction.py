"""What cannot work is refused where the auth object is made, by an error that names it, and not at the first call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters import ConfigurationError
from polvo_adapters.auth import JWTLogin, OAuth2, TokenCache

URL = "https://login.test/token"
WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "an empty secret": (lambda: OAuth2(client_id="me", client_secret="", token_url=URL), "client_secret .it is empty"),
    "no login URL": (lambda: JWTLogin(None, "me", "s3cret"), "login_url must be a URL .*None"),  # type: ignore[arg-type]
    "no URL of refreshes": (lambda: JWTLogin(URL, "me", "s3cret", refresh_url=5), "refresh_url must be .*int"),  # type: ignore[arg-type]
    "no password": (lambda: JWTLogin(URL, "me", None), "missing password"),
    "a number for a name": (lambda: JWTLogin(URL, 5, "s3cret"), "username must be a text"),  # type: ignore[arg-type]
    "a number for a password": (lambda: JWTLogin(URL, "me", 5), "password must be a text"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_work_is_refused_at_once(name: str) -> None:
    make, text = WRONG[name]
    with pytest.raises(ConfigurationError, match=text) as caught:
        make()
    assert "s3cret" not in str(caught.value)


def test_a_cache_at_a_directory_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a directory; name a file in it"):
        TokenCache(tmp_path)


@pytest.mark.parametrize("path", [None, 5])
def test_what_is_no_path_of_a_cache_is_a_type_error(path: Any) -> None:
    with pytest.raises(TypeError, match=r"TokenCache: path must name a file, such as 'tokens.json', and not"):
        TokenCache(path)
