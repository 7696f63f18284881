"""Secrets of the app and of the site: a secret of the app takes the place of one of the site with the same key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from polvo_adapters.services.taruvi import checks
from polvo_adapters.services.taruvi.errors import NotFoundError
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, Together, operation
from polvo_adapters.services.taruvi.responses import fetch_data, fetch_envelope, fetch_list, find_items

_MOST_KEYS = 10_000
_LONGEST_KEYS = 1500  # characters of keys in a URL, which some proxies limit to 2,000


class Secrets(Module[Mode_co]):
    """Secrets of the app and of the site."""

    @operation
    def list_secrets(
        self,
        search: str | None = None,
        secret_type: str | None = None,
        tags: str | Sequence[str] | None = None,
        page: int | None = None,
        page_size: int | None = None,
        app: str | None = None,
        include_metadata: bool = False,
    ) -> Operation[dict[str, Any]]:
        """Return secrets, in "results"; those that fit what is given.

        Args:
            search: A text in their keys.
            secret_type: Their type, such as "api_key".
            tags: A tag, or several.
            page: The page, the first of which is 1.
            page_size: How many at once.
            app: The app whose secrets are found before those of the site; by default that of the client.
            include_metadata: Whether more is told of each.
        """
        params = [] if search is None else [("search", checks.require_text("search", search))]
        params += self._params(app, tags)
        if secret_type is not None:
            params.append(("secret_type", checks.require_text("secret_type", secret_type)))
        if self._is_current or include_metadata:
            params.append(("include_metadata", "true" if include_metadata else "false"))
        for name, number in (("page", page), ("page_size", page_size)):
            if number is not None:
                params.append((name, str(checks.require_count(name, number, 1))))
        return (yield from fetch_list(Call("GET", "/api/secrets/", params)))

    @operation
    def get_secret(
        self, key: str, app: str | None = None, tags: str | Sequence[str] | None = None
    ) -> Operation[dict[str, Any]]:
        """Return a secret: "key", "value", "secret_type" and others.

        Args:
            key: Its key.
            app: The app whose secrets are found before those of the site; by default that of the client.
            tags: Tags that it has to have.

        Raises:
            NotFoundError: There is none, or it does not have the tags.
        """
        return (yield from self._fetch(key, self._params(app, tags)))

    @operation
    def get_secrets(
        self,
        keys: Iterable[str],
        app: str | None = None,
        tags: str | Sequence[str] | None = None,
        include_metadata: bool = False,
    ) -> Operation[dict[str, dict[str, Any]]]:
        """Return secrets by their keys, at the same time and within the time of one call; other arguments as above.

        Raises:
            NotFoundError: One of them is not there; `details["missing"]` has all that are not.
        """
        given = keys if isinstance(keys, str) else list(keys)
        wanted = list(dict.fromkeys(checks.require_names("keys", given, _MOST_KEYS)))
        params = self._params(app, tags)
        if self._is_current:
            params.append(("include_metadata", "true" if include_metadata else "false"))
            parts = [self._fetch_several(part, params) for part in _split(wanted)]
        else:
            parts = [self._fetch_one(key, params) for key in wanted]
        found: dict[str, dict[str, Any]] = {}
        for each in (yield Together(parts)):
            found.update(each)
        missing = [key for key in wanted if key not in found]
        if missing:
            raise NotFoundError(
                f"no secret {', '.join(missing)}", status_code=404, details={"missing": missing}, reason="missing"
            )
        return {key: found[key] for key in wanted}

    @operation
    def update(self, /, key: str, value: str, **attributes: Any) -> Operation[dict[str, Any]]:
        """Change the value of a secret, and return the secret; further keywords are sent as they are."""
        path = f"/api/secrets/{checks.segment('key', key)}/"
        body = checks.require_json("value", {"value": value, **attributes})
        secret: dict[str, Any] = yield from fetch_data(Call("PUT", path, body=body))
        return secret

    def _fetch(self, key: str, params: Sequence[tuple[str, str]]) -> Operation[dict[str, Any]]:
        path = f"/api/secrets/{checks.segment('key', key)}/"
        secret: dict[str, Any] = yield from fetch_data(Call("GET", path, params))
        return secret

    def _fetch_one(self, key: str, params: Sequence[tuple[str, str]]) -> Operation[dict[str, Any]]:
        """Return a secret by its key, or nothing where it is not there."""
        try:
            return {key: (yield from self._fetch(key, params))}
        except NotFoundError:
            return {}

    def _fetch_several(self, keys: Sequence[str], params: Sequence[tuple[str, str]]) -> Operation[dict[str, Any]]:
        """Return those of some secrets that are there, by their keys."""
        named = [("keys", checks.join_names("keys", keys)), *params]
        items = find_items((yield from fetch_envelope(Call("GET", "/api/secrets/", named)))) or []
        return {each["key"]: each for each in items if isinstance(each, dict) and isinstance(each.get("key"), str)}

    def _params(self, app: str | None, tags: str | Sequence[str] | None) -> list[tuple[str, str]]:
        if app is None and self._is_current:
            app = self._client.app_slug
        params = [] if app is None else [("app", checks.require_text("app", app))]
        return params if tags is None else [*params, ("tags", checks.join_names("tags", tags))]


def _split(keys: Sequence[str]) -> list[list[str]]:
    """Return keys in parts that fit into a URL."""
    parts: list[list[str]] = [[]]
    length = 0
    for key in keys:
        checks.segment("keys", key)
        if parts[-1] and length + len(key) > _LONGEST_KEYS:
            parts.append([])
            length = 0
        parts[-1].append(key)
        length += len(key) + 1
    return parts
