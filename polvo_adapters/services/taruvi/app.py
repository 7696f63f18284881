"""The app and the site: roles, settings, and queries for analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polvo_adapters.services.taruvi import addresses, checks
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, operation
from polvo_adapters.services.taruvi.responses import fetch_envelope, fetch_items, fetch_object


class App(Module[Mode_co]):
    """The app that the client is for."""

    @operation
    def roles(self) -> Operation[list[Any]]:
        """Return the roles that the app defines."""
        path = f"{self._app}/roles/" if self._is_current else f"/api/app/{self._client.app_slug}/roles"
        return (yield from fetch_items(Call("GET", path)))

    @operation
    def settings(self) -> Operation[dict[str, Any]]:
        """Return the settings of the app."""
        return (yield from fetch_object(Call("GET", f"{self._app}/settings/")))


class Settings(Module[Mode_co]):
    """The site that the client is for."""

    @operation
    def get(self) -> Operation[dict[str, Any]]:
        """Return what is known of the site: "site_name", "settings" and others."""
        return (yield from fetch_object(Call("GET", "/api/settings/metadata/")))


class Analytics(Module[Mode_co]):
    """Queries for analysis that the app defines."""

    @operation
    def execute(self, query_slug: str, params: Mapping[str, Any] | None = None) -> Operation[dict[str, Any]]:
        """Execute a query, and return its answer: the rows are in "data".

        Args:
            query_slug: The query.
            params: What it is executed with.
        """
        slug = addresses.segment("query_slug", query_slug)
        given = {} if params is None else checks.require_mapping("params", params)
        path = f"{self._app}/analytics/queries/{slug}/execute/"
        return (yield from fetch_envelope(Call("POST", path, body={"params": checks.require_json("params", given)})))
