"""Secrets of the app and of the site: a secret of the app takes the place of one of the site with the same key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from polvo_adapters.redaction import hide
from polvo_adapters.services.taruvi import addresses, checks
from polvo_adapters.services.taruvi.errors import NotFoundError
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, Together, operation
from polvo_adapters.services.taruvi.responses import fetch_list, fetch_record, fetch_rows

Params: TypeAlias = list[tuple[str, str]]
_LONGEST_KEYS = 1500  # characters of keys in a URL, which some proxies limit to 2,000


class Secrets(Module[Mode_co]):
    """Secrets of the app and of the site."""

    @operation
    def list_secrets(
        self,
        search: str | None = None,
        secret_type: str | None = None,
        tags: str | Iterable[str] | None = None,
        page: int | None = None,
        page_size: int | None = None,
        app: str | None = None,
        include_metadata: bool = False,
        keys: str | Iterable[str] | None = None,
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
            keys: Those that are wanted.
        """
        params = [] if keys is None else [("keys", checks.join_names("keys", keys))]
        params += [*checks.list_texts(search=search, secret_type=secret_type), *self._params(app, tags)]
        params += [*self._detail(include_metadata), *checks.list_pages(page, page_size)]
        return (yield from fetch_list(Call("GET", "/api/secrets/", params)))

    @operation
    def get_secret(
        self, key: str, app: str | None = None, tags: str | Iterable[str] | None = None
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
        tags: str | Iterable[str] | None = None,
        include_metadata: bool = False,
    ) -> Operation[dict[str, dict[str, Any]]]:
        """Return secrets by their keys, at the same time and within the time of one call; other arguments as above.

        Raises:
            NotFoundError: One of them is not there; `details["missing"]` has all that are not.
        """
        wanted = list(dict.fromkeys(checks.require_names("keys", keys)))
        params, detail = self._params(app, tags), self._detail(include_metadata)
        if self._is_current:
            parts = [self._fetch_several(part, params, detail) for part in _split(wanted)]
        else:
            for key in wanted:
                addresses.segment("keys", key)
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
        path, value = f"/api/secrets/{addresses.segment('key', key)}/", hide(value)
        body = {"value": checks.require_text("value", value)}
        body |= {name: checks.require_json(name, each) for name, each in attributes.items()}
        return (yield from fetch_record(Call("PUT", path, body=body, secrets=(value,))))

    list, get = list_secrets, get_secret  # the names of later versions of the published client

    def _fetch(self, key: str, params: Params) -> Operation[dict[str, Any]]:
        return (yield from fetch_record(Call("GET", f"/api/secrets/{addresses.segment('key', key)}/", params)))

    def _fetch_one(self, key: str, params: Params) -> Operation[dict[str, Any]]:
        """Return a secret by its key, or nothing where it is not there."""
        try:
            return {key: (yield from self._fetch(key, params))}
        except NotFoundError:
            return {}

    def _fetch_several(self, keys: Sequence[str], params: Params, detail: Params) -> Operation[dict[str, Any]]:
        """Return those of some secrets that are there, by their keys."""
        named = [("keys", checks.join_names("keys", keys)), *params, *detail]
        items, total = yield from fetch_rows(Call("GET", "/api/secrets/", named))
        found = {each["key"]: each for each in items if isinstance(each.get("key"), str)}
        if total is not None and total > len(items):  # the server answers by pages
            for each in (yield Together([self._fetch_one(key, params) for key in keys if key not in found])):
                found.update(each)
        return found

    def _detail(self, include_metadata: bool) -> Params:
        """Return the query parameter for what is told of each secret, which the old wire has only if it is True."""
        wanted = checks.require_flag("include_metadata", include_metadata)
        return [("include_metadata", str(wanted).lower())] if self._is_current or wanted else []

    def _params(self, app: str | None, tags: str | Iterable[str] | None) -> Params:
        if app is None and self._is_current:
            app = self._client.app_slug
        params = checks.list_texts(app=app)
        return params if tags is None else [*params, ("tags", checks.join_names("tags", tags))]


def _split(keys: Sequence[str]) -> list[list[str]]:
    """Return keys in parts that fit into a URL."""
    parts: list[list[str]] = [[]]
    length = 0
    for key in keys:
        addresses.segment("keys", key)
        if parts[-1] and length + len(key) > _LONGEST_KEYS:
            parts.append([])
            length = 0
        parts[-1].append(key)
        length += len(key) + 1
    return parts
